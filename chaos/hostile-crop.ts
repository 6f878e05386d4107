import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeEntry, type QuarantineHeader } from '../cloud-subscriber/entry.ts'
import { MqttLink } from '../lib/mqtt/link.ts'
import { Store } from '../store/store.ts'
import { storedKeys } from '../test/kit/bucket-folder.ts'
import { makeCrop } from '../test/kit/crops.ts'
import { hostileCrop, judgeReading } from '../test/kit/hostile-crop.ts'
import { Mutator } from '../test/kit/mutate.ts'
import {
  brokerConfig,
  missing,
  Program,
  subscriberConfig,
  type Test,
  temporaryFolder,
} from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { readCrop } from '../wire/crop.ts'
import { cropFilter, cropTopic, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { unforeseen } from './process-state.ts'
import { checksum } from './publisher.ts'
import type { Trial } from './trial.ts'

/** The crop's door: what a payload may be. Most are read in process; some go the whole way into quarantine. */

const FULL = { inputs: 100_000, through: 1000 }
const SHORT = { inputs: 10_000, through: 200 }
const FAULTS_MAX = 10
/** What reading them may leave behind, MB. */
const MEMORY_GROWTH_MB_MAX = 50
/** Good crops among the poison: one in so many. */
const GOOD_EVERY = 4
const PAYLOAD_BYTES_MAX = 200_000
const SETTLED_MS_MAX = 60_000
const WINDOW = 50

export const HOSTILE_CROP: Trial = {
  name: 'hostile-crop',
  what: 'payloads that mean harm, read in process and sent to a subscriber',
  async run({ short, random }) {
    const { inputs, through } = short ? SHORT : FULL
    const base = Math.floor(random() * 2 ** 31)
    const read = await readAll(base, inputs)
    const sent = await sendThrough(base, through)
    return { faults: [...read.faults, ...sent.faults], said: `${read.said}; ${sent.said}` }
  },
}

async function readAll(base: number, inputs: number): Promise<{ faults: string[]; said: string }> {
  const faults: string[] = []
  const kinds = new Map<string, number>()
  let msMax = 0
  let memoryEarly = 0
  const start = performance.now()
  for (let n = 0; n < inputs && faults.length < FAULTS_MAX; n += 1) {
    const bytes = hostileCrop(base + n)
    const { broken, kind, ms } = judgeReading(bytes)
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    msMax = Math.max(msMax, ms)
    if (broken !== undefined)
      faults.push(
        `input ${n} (seed ${base + n}): ${broken}; ${bytes.length <= 300 ? bytes.toString('hex') : `${bytes.length} bytes`}`,
      )
    if (n === Math.floor(inputs / 10)) memoryEarly = process.memoryUsage().heapUsed
    if (n % 1000 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  const growthMb = (process.memoryUsage().heapUsed - memoryEarly) / 1e6
  if (growthMb > MEMORY_GROWTH_MB_MAX) faults.push(`the heap grew by ${growthMb.toFixed(0)} MB`)
  const seconds = (performance.now() - start) / 1000
  return {
    faults,
    said: `${inputs} read in ${seconds.toFixed(0)} s, ${JSON.stringify(Object.fromEntries(kinds))}, the longest ${msMax.toFixed(1)} ms, heap ${growthMb >= 0 ? '+' : ''}${growthMb.toFixed(0)} MB`,
  }
}

interface Parcel {
  readonly topic: string
  readonly payload: Buffer
}

/** Poison and good crops by turns, through a broker into a subscriber: quarantine and bucket must hold all of it. */
async function sendThrough(base: number, count: number): Promise<{ faults: string[]; said: string }> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const filter = cropFilter(TOPIC_PREFIX_DEFAULT)
  const broker = await Program.start(
    own,
    'broker',
    brokerConfig(own, { queues: [{ clientId: 'sightline-subscriber', topics: [filter] }] }),
  )
  const bucket = temporaryFolder(own)
  const config = subscriberConfig(own, broker.url, { bucket: { type: 'folder', path: bucket } })
  const subscriber = await Program.start(own, 'subscriber', config)
  const { pid } = subscriber
  const poison: Parcel[] = []
  const good = new Map<string, string>()
  const parcels: Parcel[] = []
  for (let n = 0; poison.length < count; n += 1) {
    const parcel = poisonous(base + n)
    if (!parcel) continue
    poison.push(parcel)
    parcels.push(parcel)
    if (n % GOOD_EVERY > 0) continue
    const { metadata, topic, payload } = makeCrop()
    good.set(metadata.id, checksum(payload))
    parcels.push({ topic, payload })
  }
  await publishAll(broker.url, parcels)
  const faults: string[] = []
  await until(
    'all have arrived',
    async () =>
      (await subscriber.books('quarantine')).accepted >= poison.length &&
      storedKeys(bucket).length >= good.size,
    SETTLED_MS_MAX,
  ).catch((error: Error) => faults.push(error.message))
  if (subscriber.pid !== pid) faults.push('the subscriber was started again')
  const inboxBooks = await subscriber.books('inbox')
  if (missing(inboxBooks) !== 0)
    faults.push(`the inbox's books do not balance: ${JSON.stringify(inboxBooks)}`)
  if ((await subscriber.stop()) !== 0) faults.push('the subscriber did not end well')
  faults.push(...unforeseen(subscriber), ...unforeseen(broker))
  for (const key of storedKeys(bucket)) {
    const id = key.slice(key.lastIndexOf('/') + 1, -'.jpg'.length)
    if (good.get(id) !== checksum(readFileSync(join(bucket, key))))
      faults.push(`${key} is none of the good crops`)
    good.delete(id)
  }
  if (good.size > 0) faults.push(`${good.size} good crops are not in the bucket`)
  const inQuarantine = await quarantined((config.inbox as { folder: string }).folder)
  for (const { topic, payload } of poison) {
    const key = `${topic} ${checksum(payload)}`
    const reasons = inQuarantine.get(key)
    if (!reasons?.pop())
      faults.push(`not in quarantine: ${payload.length} bytes, ${payload.subarray(0, 200).toString('hex')}`)
    if (reasons?.length === 0) inQuarantine.delete(key)
    if (faults.length > FAULTS_MAX) break
  }
  if (faults.length === 0 && inQuarantine.size > 0)
    faults.push(`${inQuarantine.size} in quarantine that were not sent so`)
  return { faults, said: `${poison.length} in quarantine and the good crops among them in the bucket` }
}

/** No crop, or a crop on the wrong topic; undefined where the input of this seed is a crop after all. */
function poisonous(seed: number): Parcel | undefined {
  const m = new Mutator(seed)
  if (m.chance(0.05))
    return {
      topic: cropTopic(TOPIC_PREFIX_DEFAULT, { site: 'x', device: 'y', camera: 'z' }),
      payload: makeCrop().payload,
    }
  const payload = hostileCrop(seed)
  if (payload.length > PAYLOAD_BYTES_MAX || 'crop' in readCrop(payload)) return undefined
  return { topic: cropTopic(TOPIC_PREFIX_DEFAULT, { site: 'home', device: 'pi', camera: 'door' }), payload }
}

async function publishAll(url: string, parcels: readonly Parcel[]): Promise<void> {
  await using link = await MqttLink.open({
    url,
    clientId: 'poisoner',
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 30,
    connectMsMax: 5000,
  })
  let sent = 0
  let acknowledged = 0
  const done = Promise.withResolvers<void>()
  const fill = () => {
    for (; sent < parcels.length && sent - acknowledged < WINDOW; sent += 1)
      link.publish({ ...(parcels[sent] as Parcel), messageId: (sent % 65_535) + 1, dup: false })
    if (acknowledged === parcels.length) done.resolve()
  }
  link.on('puback', () => {
    acknowledged += 1
    fill()
  })
  link.once('close', (fault) => done.reject(fault ?? new Error('the connection was closed')))
  fill()
  await done.promise
}

/** What lies in quarantine, by topic and checksum: the reasons, one for each time that it is there. */
async function quarantined(folder: string): Promise<Map<string, string[]>> {
  await using store = await Store.open({ folder })
  const queue = store.queue('quarantine', {
    entriesMax: Number.POSITIVE_INFINITY,
    bytesMax: Number.POSITIVE_INFINITY,
    ageMsMax: Number.POSITIVE_INFINITY,
    whenFull: 'reject',
  })
  const found = new Map<string, string[]>()
  for (let at = queue.after(0); at !== undefined; at = queue.after(at)) {
    const message = queue.read(at)
    if (!message) continue
    const { header, payload } = decodeEntry<QuarantineHeader>(message)
    const key = `${header.topic} ${checksum(payload)}`
    found.set(key, [...(found.get(key) ?? []), header.reason])
  }
  return found
}
