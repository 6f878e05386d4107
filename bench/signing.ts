import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PLAIN_SEAL, type Seal } from '../device/link/seal.ts'
import { SigningSeal } from '../device/link/sign.ts'
import { Effects } from '../device/view/effects.ts'
import { openLog } from '../lib/log.ts'
import { readSigners } from '../lib/signatures/folder.ts'
import { judge } from '../lib/signatures/judge.ts'
import { makeAuthority, makeSignerCertificate } from '../lib/tls/authority.ts'
import { makeClip } from '../test/kit/clips.ts'
import { cropMetadata, tinyJpeg } from '../test/kit/crops.ts'
import { boxesOf } from '../wire/clip.ts'
import { EFFECTS } from '../wire/commands.ts'
import type { CropMetadata } from '../wire/crop.ts'
import { newId } from '../wire/id.ts'
import { median } from './stacks.ts'

/** What a signature costs the device and the verifier, and what an effect costs a picture: on one core, medians. */

const ROUNDS = 300
const WARM_UP_ROUNDS = 100
const CROP_BYTES = 20_000
const CLIP_BYTES = 3_000_000
const FRAMES = [
  { width: 1280, height: 720 },
  { width: 1920, height: 1080 },
] as const

export type SigningResult = ReadonlyMap<string, number>

/** @returns microseconds, by what it is */
export async function benchSigning(): Promise<SigningResult> {
  const folder = mkdtempSync(join(tmpdir(), 'sightline-bench-'))
  try {
    await makeAuthority(folder, 'Bench', { days: 30 })
    const whose = { site: 'home', device: 'pi' }
    const { cert, key } = await makeSignerCertificate(folder, whose, { days: 10 })
    using seal = SigningSeal.open({ certFile: cert, keyFile: key, folder }, whose, openLog('bench', 'silent'))
    const results = new Map<string, number>()
    const jpeg = Buffer.concat([tinyJpeg.subarray(0, -2), Buffer.alloc(CROP_BYTES), tinyJpeg.subarray(-2)])
    const clip = makeClip({ ...whose, camera: 'door' }, CLIP_BYTES)
    const [moof, mdat] = boxesOf(clip.payload)
      .boxes.filter(({ type }) => type === 'moof' || type === 'mdat')
      .map(({ at, bytes }) => clip.payload.subarray(at, at + bytes))
    const init = clip.payload.subarray(0, clip.metadata.initBytes)
    const crop = (by: Seal) => by.crop(jpeg, cropMetadata({ ...whose, id: newId() }) satisfies CropMetadata)
    const chunk = (by: Seal) => by.clip(init, [moof as Buffer, mdat as Buffer], clip.metadata)
    results.set(
      'crop of 20 KB, unsigned',
      time(() => crop(PLAIN_SEAL)),
    )
    results.set(
      'crop of 20 KB, signed',
      time(() => crop(seal)),
    )
    results.set(
      'clip of 3 MB, unsigned',
      time(() => chunk(PLAIN_SEAL)),
    )
    results.set(
      'clip of 3 MB, signed',
      time(() => chunk(seal)),
    )
    const signers = readSigners(folder)
    const [file, long] = [crop(seal), chunk(seal)]
    results.set(
      'crop of 20 KB, verified',
      time(() => judge(file, 'crop', signers)),
    )
    results.set(
      'clip of 3 MB, verified',
      time(() => judge(long, 'clip', signers)),
    )
    for (const size of FRAMES) {
      const rgb = new Uint8Array(size.width * size.height * 3).map((_, at) => (at * 7919) & 0xff)
      for (const effect of EFFECTS.filter((it) => it !== 'none')) {
        const effects = new Effects(() => effect)
        const faces = Array.from({ length: 5 }, (_, n) => ({
          box: [100 + 200 * n, 100, 120, 120] as const,
          score: 0.9,
          sure: true,
        }))
        const frame = { ...size, atMs: 0, capturedAtMs: 0 }
        effects.looked('door', frame, faces, [])
        results.set(
          `${effect}, ${size.width} x ${size.height}, 5 faces`,
          time(() => effects.apply('door', rgb, size)),
        )
      }
    }
    return results
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** @returns microseconds a call */
function time(call: () => unknown): number {
  for (let round = 0; round < WARM_UP_ROUNDS; round += 1) call()
  const tookUs = Array.from({ length: ROUNDS }, () => {
    const startMs = performance.now()
    call()
    return (performance.now() - startMs) * 1000
  })
  return median(tookUs)
}

export function printSigning(results: SigningResult): void {
  process.stdout.write('\nSignatures and effects, microseconds, medians:\n')
  for (const [what, us] of results)
    process.stdout.write(`  ${what.padEnd(36)} ${us.toFixed(0).padStart(8)}\n`)
}
