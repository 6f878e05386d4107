import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type CropMetadata, readCrop } from '../../wire/crop.ts'
import { desiredTopic } from '../../wire/desired.ts'
import { TOPIC_PREFIX_DEFAULT as PREFIX } from '../../wire/topics.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { sharedData } from '../kit/data.ts'
import { Program } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { DEVICE, deviceConfigAt, openScenarioLine } from '../kit/scenario-line.ts'
import { until } from '../kit/wait.ts'
import { WebhookReceiver } from '../kit/webhooks.ts'

/** From an operator's words to a webhook, over everything in between: each program for real. */

const SECRET = `whsec_${Buffer.alloc(24, 7).toString('base64')}`
const CLIP = sharedData('video/short_hamilton_clip.mp4')
/** Real people, who come and go; drawn ones where there is no such clip. */
const SOURCE = CLIP === undefined ? { source: 'testcard:crossings' } : { source: CLIP, loop: true }
const ZONE = {
  name: 'door',
  points: [
    [0, 0],
    [1, 0],
    [1, 1],
    [0, 1],
  ],
}
const WAIT_MS_MAX = 60_000

/** What is in the bucket, by its metadata. */
function cropsIn(bucket: string): CropMetadata[] {
  return storedKeys(bucket, 'jpg').flatMap((key) => {
    const reading = readCrop(readFileSync(join(bucket, key)))
    return 'crop' in reading ? [reading.crop] : []
  })
}

interface DeviceAnswer {
  readonly desired: { readonly version: number | null; readonly state: string }
}

t.test('what an operator publishes reaches the camera, and a face in its zone somebody, once', async (t) => {
  const { edge, console, api, bucket, cloud } = await openScenarioLine(t)
  const receiver = await WebhookReceiver.open(t)
  receiver.secret = SECRET
  const device = await Program.start(t, 'device', deviceConfigAt(t, edge.url, SOURCE))
  const stateOf = async () =>
    (await api.get<{ items: (DeviceAnswer & typeof DEVICE)[] }>('devices')).items.find(
      (it) => it.site === DEVICE.site && it.device === DEVICE.device,
    )?.desired.state
  await until('the console knows the device', async () => (await stateOf()) !== undefined, WAIT_MS_MAX)

  const channel = await api.addChannel({ type: 'webhook', name: 'hook', url: receiver.url, secret: SECRET })
  const rule = { id: 'somebody', name: 'Somebody at the door', on: 'face', notify: [channel.id] }
  const scenario = await api.addScenario({
    name: 'Visitors',
    cameras: { all: true },
    settings: { emit: { first: true } },
    zones: [{ camera: `${DEVICE.site}/${DEVICE.device}/door`, ...ZONE }],
    rules: [{ ...rule, conditions: { zones: [ZONE.name] } }],
  })
  t.equal(scenario.state, 'published')
  await until('the device has applied it', async () => (await stateOf()) === 'applied', WAIT_MS_MAX)
  const atEdge = await RawClient.open(t, edge.port, 'looker', { clean: true })
  await atEdge.subscribe(desiredTopic(PREFIX, DEVICE), 1)
  await atEdge.publishesReached(1)
  t.match(atEdge.publishes[0], { retain: true }, 'and it is kept at the edge')

  const inZone = () => cropsIn(bucket).filter((it) => it.zones?.includes(ZONE.name))
  await until('crops say that they are in the zone', () => inZone().length >= 3, WAIT_MS_MAX)
  await until('webhooks come', () => receiver.received.length >= 2, WAIT_MS_MAX)

  // A power cut, while faces go on.
  await console.kill()
  const before = inZone().length
  await until('more faces come meanwhile', () => inZone().length > before + 1, WAIT_MS_MAX)
  await console.start()
  const heard = () => new Set(receiver.received.map(({ notice }) => notice.track))
  await until('webhooks go on', () => heard().size >= 4, WAIT_MS_MAX)
  await device.stop()
  const tracks = () => new Set(inZone().map(({ track }) => track))
  await until('the cloud broker has handed on all', async () => {
    const books = await cloud.books('session/sightline-subscriber')
    return books.pending === 0
  })
  await until('every track was heard of', () => [...tracks()].every((it) => heard().has(it)), WAIT_MS_MAX)

  const all = receiver.received
  t.ok(
    all.every((it) => it.isSigned),
    'each is signed',
  )
  // One that was answered in the moment of the kill may come again: by its id a receiver drops it.
  const once = new Map(all.map((it) => [it.id, it.notice]))
  t.strictSame(
    [...once.values()].map(({ track }) => track).sort(),
    [...tracks()].sort(),
    'one for each face: none twice, none missing',
  )
  for (const notice of once.values())
    t.match(notice, {
      ...DEVICE,
      camera: 'door',
      is: 'new',
      zones: [ZONE.name],
      scenario: { id: scenario.id, name: 'Visitors' },
      rule: { id: 'somebody', name: 'Somebody at the door' },
    })
  t.comment(`${tracks().size} faces, ${all.length} webhooks`)
})
