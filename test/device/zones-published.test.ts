import t, { type Test } from 'tap'
import { readCrop } from '../../wire/crop.ts'
import { eventSchema, type FaceEvent } from '../../wire/event.ts'
import type { Zone } from '../../wire/zones.ts'
import { sharedData } from '../kit/data.ts'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { startDevice, watch } from './commanded.ts'

/** Zones, first pictures and who is present, from a real detector over a real broker. */

const area = (name: string, from: number, to: number, stayS?: number): Zone => ({
  name,
  points: [
    [from, 0],
    [to, 0],
    [to, 1],
    [from, 1],
  ],
  ...(stayS !== undefined && { stayS }),
})
type Eye = Awaited<ReturnType<typeof watch>>
const eventsOf = (eye: Eye): FaceEvent[] =>
  eye.of('event').map(({ payload }) => eventSchema.parse(JSON.parse(payload.toString('utf8'))))
const cropsOf = (eye: Eye) =>
  eye.of('crop').map(({ payload, atMs }) => {
    const reading = readCrop(payload)
    if (!('crop' in reading)) throw new Error(reading.detail)
    return { ...reading.crop, atMs }
  })

/** What holds of every face, whatever it does. */
function checkVisits(t: Test, events: readonly FaceEvent[]) {
  const tracks = Map.groupBy(events, ({ after }) => after.id)
  for (const [id, told] of tracks) {
    const inside = new Set<string>()
    for (const [n, { type, zone = '', after }] of told.entries()) {
      if ((type === 'new') !== (n === 0)) t.fail(`${id}: ${type} is number ${n}`)
      if (type === 'enter' && inside.has(zone)) t.fail(`${id} enters ${zone} twice`)
      if ((type === 'leave' || type === 'stay') && !inside.has(zone)) t.fail(`${id}: ${type} without enter`)
      if (type === 'enter') inside.add(zone)
      if (type === 'leave') inside.delete(zone)
      if (type === 'end' && inside.size > 0) t.fail(`${id} ends in ${[...inside]}`)
      if (type === 'end') t.strictSame(after.zones, [], 'at its end it is in no zone')
    }
  }
  return tracks
}

t.test(
  'drawn faces that walk about: first, then best under one track; enter, stay, leave; present',
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const eye = await watch(t, broker.url)
    await eye.client.subscribeAsync('#')
    const zones = [area('left', 0, 0.5, 1), area('right', 0.5, 1, 1)]
    const device = await startDevice(t, broker.url, {
      cameras: [{ name: 'card', source: 'testcard', zones }],
      emit: { mode: 'best', first: true, bestAfter: '4s' },
    })
    await eye.stateBecomes('faces are here, and each is in one of the halves', ({ present }) => {
      const { faces = 0, zones = {} } = present ?? {}
      return faces > 0 && Object.values(zones).reduce((sum, it) => sum + it, 0) >= faces
    })
    await eye.stateBecomes('it sees its scene', ({ view }) => view?.is === 'clear')
    await until('somebody stays', () => eventsOf(eye).some(({ type }) => type === 'stay'))
    await until('a first and a best of one face', () => {
      const crops = cropsOf(eye)
      return crops.some(
        ({ shot, track }) => shot === 'best' && crops.some((it) => it.shot === 'first' && it.track === track),
      )
    })
    await device.stop()
    const events = eventsOf(eye)
    const tracks = checkVisits(t, events)
    for (const told of tracks.values()) t.equal(told.at(-1)?.type, 'end', 'each has come to its end')
    for (const type of ['enter', 'leave', 'stay'] as const)
      t.ok(
        events.some((it) => it.type === type && it.inZoneMs !== undefined),
        type,
      )
    const stay = events.find(({ type }) => type === 'stay')
    t.ok((stay?.inZoneMs ?? 0) >= 1000 && (stay?.inZoneMs ?? 0) < 2500, `${stay?.inZoneMs} ms`)
    const crops = cropsOf(eye)
    for (const { shot, zones } of crops) t.ok(shot && zones && zones.length > 0, `${shot} in ${zones}`)
    for (const [track, shots] of Map.groupBy(crops, (it) => it.track)) {
      t.ok(
        shots.slice(1).every(({ shot }) => shot === 'best'),
        `${track}: ${shots.map(({ shot }) => shot)}`,
      )
      const [first, best] = shots
      if (best?.shot === 'best' && first?.shot === 'first')
        t.ok((best.quality?.total ?? 0) > (first.quality?.total ?? 1), 'the best is better')
    }
    t.notOk(eye.states().at(-1)?.present, 'nobody is said to be present when nobody looks')
  },
)

const clip = sharedData('video/short_hamilton_clip.mp4')
t.test(
  'people in a clip: the first picture within half a second of being sure',
  { skip: clip === undefined && 'no shared test data' },
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const eye = await watch(t, broker.url)
    await eye.client.subscribeAsync('#', { qos: 1 })
    await Program.run(t, 'device', {
      site: 'lab',
      device: 'bench1',
      cameras: [
        {
          name: 'card',
          source: clip,
          pace: 'asfast',
          rateMax: 10,
          zones: [area('left', 0, 0.5), area('all', 0, 1, 1)],
        },
      ],
      emit: { first: true },
      events: { qos: 1 },
      remote: { enabled: false },
      report: { enabled: false },
      http: { port: 0 },
      broker: { url: broker.url },
    })
    await until('of every crop its face has come to its end', () => {
      const ended = new Set(eventsOf(eye).flatMap(({ type, after }) => (type === 'end' ? [after.id] : [])))
      return ended.size > 0 && cropsOf(eye).every(({ track = '' }) => ended.has(track))
    })
    const events = eventsOf(eye)
    const tracks = checkVisits(t, events)
    const crops = cropsOf(eye)
    const firsts = crops.filter(({ shot }) => shot === 'first')
    t.ok(firsts.length > 0, `${firsts.length} first pictures of ${tracks.size} faces`)
    for (const first of firsts) {
      const sure = tracks.get(first.track ?? '')?.find(({ type }) => type === 'new')
      const lateMs = first.capturedAtMs - (sure?.after.seenMs ?? 0)
      t.ok(lateMs <= 500, `${lateMs} ms after it was sure`)
      t.ok(first.zones?.includes('all'))
    }
    t.ok(events.some(({ type, zone }) => type === 'stay' && zone === 'all'))
  },
)
