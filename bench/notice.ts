import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import { sharedData } from '../test/kit/data.ts'
import { Program, type Test } from '../test/kit/programs.ts'
import { DEVICE, deviceConfigAt, openScenarioLine } from '../test/kit/scenario-line.ts'
import { until } from '../test/kit/wait.ts'
import { WebhookReceiver } from '../test/kit/webhooks.ts'
import { readCrop } from '../wire/crop.ts'
import { eventSchema, type FollowedFace } from '../wire/event.ts'
import { readBatch, storedTopic } from '../wire/stored.ts'
import { cropTopic, eventTopic, TOPIC_PREFIX_DEFAULT as PREFIX } from '../wire/topics.ts'
import { median, quantile } from './stacks.ts'

/**
 * From a face to a webhook received, over the whole line on one machine, one clock: agent, edge broker, bridge, cloud broker,
 * subscriber, bucket, console. From the frame in which the face was first seen, and from the one in which it was sure
 * (a track is confirmed by its third frame). Beside it what people would write instead: a script that subscribes to events and
 * posts each new face to the same kind of receiver; and what becomes of either where the receiver fails for a while.
 */
const FACES = 60
const MINUTES_MAX = 6
const SECONDS_DOWN = 15
const WAIT_MS_MAX = 60_000
const WAYS = ['picture', 'track', 'script'] as const
type Way = (typeof WAYS)[number]

interface Latency {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
}

export interface NoticeResult {
  readonly faces: number
  /** From the frame in which the face was first seen; from the one in which it was sure. */
  readonly fromSeen: Readonly<Record<Way, Latency>>
  readonly fromSure: Readonly<Record<Way, Latency>>
  /** Of the way with a picture, medians, ms: from sure to the crop at the edge broker, and so on. */
  readonly stages: Readonly<Record<'edge' | 'announced' | 'rule' | 'receiver', number>>
  /** Faces that were new while the receiver failed, and how many of them were heard of after all. */
  readonly facesWhileDown: number
  readonly heardOf: Readonly<Record<Way, number>>
}

export async function benchNotice(faces = FACES): Promise<NoticeResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const { edge, cloud, api } = await openScenarioLine(own)
  const receivers = {
    picture: await WebhookReceiver.open(own),
    track: await WebhookReceiver.open(own),
    script: await WebhookReceiver.open(own),
  }
  const clip = sharedData('video/short_hamilton_clip.mp4')
  const source = clip === undefined ? { source: 'testcard:crossings' } : { source: clip, loop: true }
  await Program.start(own, 'device', deviceConfigAt(own, edge.url, source))
  const isThere = async () => {
    const { items } = await api.get<{ items: { device: string }[] }>('devices')
    return items.some(({ device }) => device === DEVICE.device)
  }
  await until('the console knows the device', isThere, WAIT_MS_MAX)
  const channel = async (name: 'picture' | 'track') =>
    (await api.addChannel({ type: 'webhook', name, url: receivers[name].url })).id
  const rule = { per: 'track', name: 'Somebody' }
  await api.addScenario({
    name: 'Bench',
    cameras: { all: true },
    settings: { emit: { first: true } },
    rules: [
      { ...rule, id: 'picture', on: 'face', notify: [await channel('picture')] },
      {
        ...rule,
        id: 'track',
        on: 'track',
        conditions: { trackEvents: ['new'] },
        notify: [await channel('track')],
      },
    ],
  })
  await until('pictures are heard of', () => receivers.picture.received.length > 0, WAIT_MS_MAX)
  // What it takes the first time (code, connections) is not what is measured.
  for (const receiver of Object.values(receivers)) receiver.received.length = 0

  const seen = new Map<string, FollowedFace>()
  const arrivals: Arrivals = { atEdge: new Map(), announced: new Map() }
  const listen = async (url: string, clientId: string, filter: string, heard: (payload: Buffer) => void) => {
    const link = stack.use(
      await MqttLink.open({
        url,
        clientId,
        protocol: 4,
        clean: true,
        packetBytesMax: 1024 * 1024,
        keepaliveS: 30,
        connectMsMax: 5000,
      }),
    )
    link.on('publish', ({ payload }) => heard(payload))
    await link.subscribe(filter, 0)
  }
  const every = { site: '+', device: '+', camera: '+' }
  const newFaces = (onNew: (face: FollowedFace) => void) => (payload: Buffer) => {
    const { type, after } = eventSchema.parse(JSON.parse(payload.toString()))
    if (type === 'new') onNew(after)
  }
  const events = eventTopic(PREFIX, every)
  await listen(
    edge.url,
    'faces',
    events,
    newFaces((face) => seen.set(face.id, face)),
  )
  await listen(edge.url, 'crops', cropTopic(PREFIX, every), (payload) => {
    const reading = readCrop(payload)
    if ('crop' in reading) arrivals.atEdge.set(reading.crop.id, nowMs())
  })
  await listen(cloud.url, 'announcements', storedTopic(PREFIX, '+'), (payload) => {
    for (const it of readBatch(payload).announcements)
      if (it.is === 'stored') arrivals.announced.set(it.id, nowMs())
  })
  await listen(
    cloud.url,
    'script',
    events,
    newFaces((face) => void post(receivers.script.url, face).catch(() => {})),
  )

  const endMs = Date.now() + MINUTES_MAX * 60_000
  while (seen.size < faces && Date.now() < endMs) await sleep(200)
  await sleep(2000)
  const measured = new Map(seen)
  const latencies = (from: (face: FollowedFace) => number) =>
    ofWays((way) => {
      const first = firsts(receivers[way])
      const times = [...measured.values()].flatMap((face) => {
        const atMs = first.get(face.id)
        return atMs === undefined ? [] : [atMs - from(face)]
      })
      times.sort((a, b) => a - b)
      return { count: times.length, p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
    })
  const fromSeen = latencies((face) => face.startMs)
  const fromSure = latencies((face) => face.seenMs)

  const stages = stagesOf(measured, receivers.picture, arrivals)
  seen.clear()
  let isDown = true
  const heard = ofWays(() => new Set<string>())
  for (const way of WAYS) {
    const receiver = receivers[way]
    receiver.received.length = 0
    receiver.answer = (response, { notice }) => {
      if (!isDown && notice.track !== undefined) heard[way].add(notice.track)
      response.writeHead(isDown ? 503 : 204).end()
    }
  }
  const least = Date.now() + SECONDS_DOWN * 1000
  while ((Date.now() < least || seen.size < 3) && Date.now() < endMs + 60_000) await sleep(200)
  const missed = [...seen.keys()]
  isDown = false
  const hasAll = (way: Way) => missed.every((it) => heard[way].has(it))
  await until('all were heard of', () => hasAll('picture') && hasAll('track'), 3 * WAIT_MS_MAX).catch(
    () => {},
  )
  return {
    faces: measured.size,
    fromSeen,
    fromSure,
    stages,
    facesWhileDown: missed.length,
    heardOf: ofWays((way) => missed.filter((it) => heard[way].has(it)).length),
  }
}

const ofWays = <T>(make: (way: Way) => T) =>
  Object.fromEntries(WAYS.map((way) => [way, make(way)])) as Record<Way, T>

function stagesOf(
  faces: ReadonlyMap<string, FollowedFace>,
  { received }: WebhookReceiver,
  { atEdge, announced }: Arrivals,
): NoticeResult['stages'] {
  const times = received.flatMap(({ notice, atMs }) => {
    const face = faces.get(notice.track ?? '')
    const edgeMs = atEdge.get(notice.detection ?? '')
    const announcedMs = announced.get(notice.detection ?? '')
    if (notice.revision > 0 || !face || edgeMs === undefined || announcedMs === undefined) return []
    return [[face.seenMs, edgeMs, announcedMs, notice.madeAtMs, atMs]]
  })
  const of = (at: number) => median(times.map((it) => (it[at] ?? 0) - (it[at - 1] ?? 0)))
  return { edge: of(1), announced: of(2), rule: of(3), receiver: of(4) }
}

/** When crops came to the edge broker, and when the cloud broker was told that the bucket has them; by id, ms since 1970. */
interface Arrivals {
  readonly atEdge: Map<string, number>
  readonly announced: Map<string, number>
}

const nowMs = () => performance.timeOrigin + performance.now()

/** When each face was first heard of. */
function firsts({ received }: WebhookReceiver): ReadonlyMap<string, number> {
  const first = new Map<string, number>()
  for (const { notice, atMs } of received)
    if (notice.track !== undefined && !first.has(notice.track)) first.set(notice.track, atMs)
  return first
}

/** As a script does it: a body, a request, no second try. */
async function post(url: string, { id, site, device, camera, startMs }: FollowedFace): Promise<void> {
  const it = { id: 'script', name: 'Script' }
  const body = {
    ...{ v: 1, id, revision: 0, is: 'new', atMs: startMs, madeAtMs: Date.now() },
    ...{ scenario: it, rule: it, level: 'info', title: 'A face', text: 'A face' },
    ...{ site, device, camera, track: id },
  }
  await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
}

export function printNotice(result: NoticeResult): void {
  const { faces, fromSeen, fromSure, stages, facesWhileDown, heardOf } = result
  const NAMES = { picture: 'picture (emit.first)', track: 'track (no picture)', script: 'a script on events' }
  const line = (way: Way) => {
    const [seen, sure] = [fromSeen[way], fromSure[way]]
    const ms = ({ p50Ms, p99Ms }: Latency) => `p50 ${p50Ms.toFixed(0)} ms, p99 ${p99Ms.toFixed(0)} ms`
    return `  ${NAMES[way].padEnd(21)} ${seen.count} of ${faces}: from first seen ${ms(seen)}; from sure ${ms(sure)}; receiver down: ${heardOf[way]} of ${facesWhileDown} faces heard of in the end\n`
  }
  process.stdout.write(
    `\nNotice: from a face to the webhook received, whole line on one machine (bar, picture, from first seen: p50 below 700 ms)\n${WAYS.map(line).join('')}  of the picture, medians: at the edge broker ${stages.edge.toFixed(0)} ms after sure, in the bucket and announced ${stages.announced.toFixed(0)} ms later, the rule ${stages.rule.toFixed(0)} ms, the receiver ${stages.receiver.toFixed(0)} ms\n`,
  )
}

if (import.meta.main) printNotice(await benchNotice(Number(process.argv[2] ?? FACES)))
