import { join } from 'node:path'
import t from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { openMeters } from '../../device/meters.ts'
import { Recorder } from '../../device/record/recorder.ts'
import { openSource } from '../../device/sources/open.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { readSigners } from '../../lib/signatures/folder.ts'
import { Verification } from '../../lib/signatures/verification.ts'
import { readClip } from '../../wire/clip.ts'
import { writeClip } from '../device/clip.ts'
import { command, startDevice, watch } from '../device/commanded.ts'
import { openAuthority } from '../kit/certificates.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { openSeal, type SignedFile, signedCrop } from '../kit/signed.ts'
import { until } from '../kit/wait.ts'

/** Recordings that are signed: by the real recorder with a real key, checked as whoever gets them would. */

const authority = await openAuthority(t)

/** All files, as they came, and what is said of them. */
function verify(files: readonly SignedFile[]) {
  const verification = new Verification(readSigners(authority.folder))
  const added = files.map(({ payload, at }) => verification.add(payload, at))
  const findings = [...added.flatMap((it) => it.findings), ...verification.end()]
  return { findings, totals: verification.totals }
}

t.test('cameras that record at the same time: each has a chain without a hole, in its order', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'clip.mp4')
  await writeClip({ file, codec: 'h264', frames: 300, width: 64, height: 48, keyEvery: 25 })
  const names = ['door', 'yard', 'gate', 'hall']
  // Half are copied, and half encoded, which takes longer.
  const config = deviceSchema.parse({
    site: 'home',
    device: 'pi',
    cameras: names.map((name, n) => ({
      ...{ name, source: file, pace: 'asfast' },
      record: { mode: 'always', chunk: '1s', encode: n % 2 ? 'always' : 'auto' },
    })),
  })
  const seal = openSeal(t, await authority.signer('home/pi'), 'home/pi')
  const log = openLog('test', 'silent')
  const files: SignedFile[] = []
  const recorder = await Recorder.open({
    ...{ config, log, seal, meters: openMeters(openMetrics('device')) },
    sink: {
      offer: ({ metadata, payload }) => {
        files.push({ at: `${metadata.id}.mp4`, payload })
        // Faces are sealed between chunks, by the same key.
        files.push(signedCrop(seal, { site: 'home', device: 'pi', camera: metadata.camera }))
      },
    },
  })
  await Promise.all(
    config.cameras.map(async (camera) => {
      const events = { skipped: () => {}, damaged: () => {} }
      const context = { input: { width: 320, height: 240 }, log, events, tap: recorder.tap(camera.name) }
      await using source = await openSource(camera, context, new AbortController().signal)
      for await (const frame of source) frame[Symbol.dispose]()
    }),
  )
  await recorder[Symbol.asyncDispose]()
  const clips = files.filter(({ at }) => at.endsWith('.mp4'))
  t.equal(clips.length, names.length * 12)
  const { findings, totals } = verify(files)
  t.equal(totals.verdicts.signed, files.length)
  t.equal(totals.wrong, 0)
  t.strictSame(
    findings.map(({ camera, kind, finding }) => `${camera} ${kind} ${finding.is}`).sort(),
    names
      .flatMap((name) => [
        `home/pi/${name} clip begins`,
        `home/pi/${name} clip gap`,
        `home/pi/${name} crop begins`,
      ])
      .sort(),
    'the gap is that of the start',
  )
  const without = verify(files.filter((it) => it !== clips[5]))
  t.equal(without.totals.findings.missing, 1, 'and one that is taken out is missed')
})

t.test(
  'a device that is killed while it records goes on with its chain: what is missing is said, and nothing is called changed',
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const eye = await watch(t, broker.url)
    await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
    const settings = {
      cameras: [{ name: 'card', source: 'testcard', record: { mode: 'always', chunk: '500ms' } }],
      remote: { folder: temporaryFolder(t) },
      outbox: { folder: temporaryFolder(t) },
      signing: { ...(await authority.signer('lab/bench1')), folder: temporaryFolder(t) },
    }
    const clips = () => eye.of('clip').length
    for (let start = 0; start < 3; start += 1) {
      const device = await startDevice(t, broker.url, settings)
      const before = clips()
      await until('clips and crops', () => clips() >= before + 3 && eye.of('crop').length > 0)
      if (start < 2) await device.kill()
      else {
        await command(eye.client, 'record', 'off')
        await eye.stateBecomes('off', ({ record }) => record?.mode === 'off' && !record.recording)
        await device.stop()
      }
    }
    const files = ['clip', 'crop'].flatMap((kind) =>
      eye.of(kind).map(({ payload }, n) => ({ at: `${kind} ${n}`, payload })),
    )
    const { findings, totals } = verify(files)
    t.equal(totals.verdicts.signed, files.length, 'every one is whole')
    const said = (kind: string) => findings.filter((it) => it.kind === kind).map(({ finding }) => finding.is)
    for (const kind of ['clip', 'crop']) {
      const other = said(kind).filter((is) => !['begins', 'gap', 'missing', 'duplicate'].includes(is))
      t.strictSame(other, [], `${kind}: neither begun anew, nor forked, nor in another order`)
      t.equal(said(kind).filter((is) => is === 'begins').length, 1, 'one chain over all starts')
      t.ok(said(kind).filter((is) => is === 'missing').length <= 2, 'at most once a kill')
    }
    // Each start says that nothing was recorded before it.
    const starts = eye.of('clip').map(({ payload }) => {
      const reading = readClip(payload)
      return 'clip' in reading ? reading.clip.gap?.why : undefined
    })
    t.equal(new Set(starts.filter(Boolean)).size, 1)
    t.ok(starts.filter((why) => why === 'start').length >= 3)
  },
)
