import { SigningSeal } from '../../device/link/sign.ts'
import type { Log } from '../../lib/log.ts'
import { openLog } from '../../lib/log.ts'
import { boxesOf, type ClipMetadata, readClip } from '../../wire/clip.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { newId } from '../../wire/id.ts'
import type { Pair } from './certificates.ts'
import { makeClip } from './clips.ts'
import { cropMetadata, tinyJpeg } from './crops.ts'
import { type Test, temporaryFolder } from './programs.ts'

/** Files as a device that signs makes them. */

/** A device's seal. @param whose `site/device` */
export function openSeal(
  t: Test,
  { certFile, keyFile }: Pair,
  whose: string,
  { folder = temporaryFolder(t), log = openLog('test', 'silent') }: { folder?: string; log?: Log } = {},
): SigningSeal {
  const [site = '', device = ''] = whose.split('/')
  return SigningSeal.open({ certFile, keyFile, folder }, { site, device }, log)
}

export interface SignedFile {
  /** As in a bucket: the last part of its key. */
  readonly at: string
  readonly payload: Buffer
}

export function signedCrop(seal: SigningSeal, settings: Partial<CropMetadata> = {}): SignedFile {
  const metadata = cropMetadata(settings)
  return { at: `${metadata.id}.jpg`, payload: seal.crop(tinyJpeg, metadata) }
}

/** @param clip what it is made of; a synthetic one where absent */
export function signedClip(
  seal: SigningSeal,
  settings: Partial<ClipMetadata> = {},
  clip: { readonly metadata: ClipMetadata; readonly payload: Buffer } = makeClip(settings),
): SignedFile {
  const { init, fragments } = partsOf(clip.payload)
  return { at: `${clip.metadata.id}.mp4`, payload: seal.clip(init, fragments, clip.metadata) }
}

/** So many chunks of one recording, one after the other. */
export function signedRun(
  seal: SigningSeal,
  count: number,
  settings: Partial<ClipMetadata> = {},
  sequence = 0,
): SignedFile[] {
  const run = settings.run ?? newId()
  const startMs = settings.capturedAtMs ?? Date.now()
  return Array.from({ length: count }, (_, n) =>
    signedClip(seal, {
      ...settings,
      run,
      sequence: sequence + n,
      capturedAtMs: startMs + n * 3000,
      durationMs: 3000,
    }),
  )
}

function partsOf(payload: Buffer): { init: Buffer; fragments: Buffer[] } {
  const reading = readClip(payload)
  if (!('clip' in reading)) throw new Error(reading.detail)
  const fragments = boxesOf(payload)
    .boxes.filter(({ type }) => type === 'moof' || type === 'mdat')
    .map(({ at, bytes }) => payload.subarray(at, at + bytes))
  return { init: payload.subarray(0, reading.clip.initBytes), fragments }
}
