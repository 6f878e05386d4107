import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { encodeMessage } from '../../broker/message.ts'
import { chunksTouching } from '../../cloud-subscriber/recordings/chunks-touching.ts'
import { forgetCrops } from '../../commands/forget/crops.ts'
import { forget } from '../../commands/forget/forget.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import type { ClipMetadata } from '../../wire/clip.ts'
import { selectionSchema, selectsMessage } from '../../wire/forget.ts'
import { idMinter } from '../../wire/id.ts'
import { CLIP, keptTopic } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import { makeClip } from '../kit/clips.ts'
import { makeCrop } from '../kit/crops.ts'
import { brokerConfig } from '../kit/programs.ts'
import { configFile } from './sightline.ts'

const AT = { site: 'home', device: 'pi', camera: 'door' }
const HOUR = Date.UTC(2026, 10, 20, 13)
const CHUNK_MS = 3000
const stretch = (fromMs: number, toMs: number) => ({ kind: 'stretch', ...AT, fromMs, toMs }) as const

function clipAt(atMs: number, settings: Partial<ClipMetadata> = {}) {
  const { metadata, payload } = makeClip({
    ...AT,
    ...{ id: idMinter(() => atMs)(), capturedAtMs: atMs, endMs: atMs + CHUNK_MS },
    ...settings,
  })
  return { metadata, payload, topic: keptTopic('sightline/v1', CLIP, metadata) }
}

t.test('a stretch has the chunks that have any part in it, and no crop', async (t) => {
  const { payload, topic } = clipAt(HOUR)
  const is = (fromMs: number, toMs: number) => selectsMessage(stretch(fromMs, toMs), topic, payload)
  t.ok(is(HOUR + 2999, HOUR + 10_000), 'its end')
  t.ok(is(HOUR - 10_000, HOUR + 1), 'its beginning')
  t.notOk(is(HOUR + 3000, HOUR + 10_000))
  t.notOk(is(HOUR - 10_000, HOUR))
  const all = stretch(HOUR - 60_000, HOUR + 60_000)
  t.notOk(selectsMessage({ ...all, camera: 'yard' }, topic, payload))
  const crop = makeCrop({ ...AT, capturedAtMs: HOUR })
  t.notOk(selectsMessage(all, crop.topic, crop.payload))
  t.notOk(selectsMessage(all, topic.replace(/clip$/, 'state'), Buffer.from('{}')))
  const cut = payload.subarray(0, 40)
  t.ok(selectsMessage(all, topic, cut, HOUR), 'by the time of receipt where it cannot be read')
  t.notOk(selectsMessage(all, topic, cut, HOUR + 60_000))
  t.notOk(selectionSchema.safeParse(stretch(HOUR, HOUR)).success)
})

t.test(
  'of a bucket the same, to the chunk: at the edges, over the hour, and where a clock was wrong',
  async (t) => {
    const path = t.testdir()
    await using bucket = await FolderBucket.open({ path })
    const put = async (name: string, clip: ReturnType<typeof clipAt>, filedAtMs: number) => {
      const key = objectKey(clip.metadata, filedAtMs, CLIP)
      await bucket.create({ key, body: clip.payload, contentType: '', cacheControl: '' })
      names.set(key, name)
      return key
    }
    const names = new Map<string, string>()
    // A minute of chunks before the hour, and two behind it.
    for (let s = -60; s < 120; s += 3) await put(`${s}`, clipAt(HOUR + s * 1000), HOUR + s * 1000)
    const wrong = await put('wrong clock', clipAt(Date.UTC(2001, 0), { clockSane: false }), HOUR + 50_000)
    utimesSync(join(path, wrong), HOUR / 1000 + 50, HOUR / 1000 + 50)
    await put('another', clipAt(HOUR, { camera: 'yard' }), HOUR)
    const touched = async (fromMs: number, toMs: number) => {
      const keys = await Array.fromAsync(
        chunksTouching(bucket, stretch(HOUR + fromMs, HOUR + toMs), new AbortController().signal),
      )
      return keys.map((key) => names.get(key) ?? key).sort((a, b) => Number(a) - Number(b))
    }
    t.strictSame(await touched(-4000, 4000), ['-6', '-3', '0', '3'])
    t.strictSame(await touched(3000, 3001), ['3'])
    t.strictSame(await touched(0, 3000), ['0'])
    t.ok((await touched(48_000, 54_000)).includes('wrong clock'), 'it goes by when it came')
    t.equal((await touched(48_000, 54_000)).length, 3)
    t.equal((await touched(-10_000_000_000, 100_000_000)).length, names.size - 1)
    t.strictSame(await touched(-100_000_000, -90_000_000), [])
  },
)

t.test(
  'sightline forget --camera --from --to: of a queue the stretch goes, and the rest stays',
  async (t) => {
    const bounds: QueueBounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: Infinity, whenFull: 'reject' }
    const config = brokerConfig(t)
    const { folder } = config.store as { folder: string }
    const crop = makeCrop({ ...AT, capturedAtMs: HOUR })
    {
      await using store = await Store.open({ folder })
      const queue = store.queue('bridge/cloud/clips', bounds)
      for (const { topic, payload } of [clipAt(HOUR), clipAt(HOUR + 3000), clipAt(HOUR + 6000), crop])
        await store.accept(encodeMessage({ topic, payload, qos: 1 }), [queue])
    }
    const argv = ['--camera', 'home/pi/door', '--yes', '--config', configFile(t, config)]
    for (const wrong of [
      ['--from', '2026-11-20T13:00:03'],
      ['--from', 'yesterday', '--to', '2026-11-21'],
      ['--from', '2026-11-21', '--to', '2026-11-20'],
    ])
      await t.rejects(forget.run([...argv, ...wrong]), { code: 'USAGE' }, wrong.join(' '))
    const day = ['--day', '2026-11-20', '--from', '2026-11-20', '--to', '2026-11-21', ...argv.slice(3)]
    await t.rejects(forget.run(day), { code: 'USAGE', message: /for --camera/ })
    let said = ''
    const run = (fromMs: number, toMs: number) =>
      forgetCrops({
        selection: stretch(fromMs, toMs),
        files: argv.slice(-1),
        dryRun: false,
        yes: true,
        env: {},
        print: (text) => {
          said += text
        },
      })
    t.equal(await run(HOUR + 3000, HOUR + 4000), 0)
    t.match(said, 'queue bridge/cloud/clips: 1 removed')
    t.equal(await forget.run([...argv, '--from', '2026-11-20T14:00:06+01:00', '--to', '2026-11-20T14:00']), 0)
    await using store = await Store.open({ folder })
    t.match(store.queues.get('bridge/cloud/clips')?.books, { pending: 2, dropped: { forgotten: 2 } })
  },
)
