import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import type { Readings } from '../../demo/readings.ts'
import { type Moment, render, renderLine, sparkline } from '../../demo/view.ts'
import { queue, readings } from './readings.ts'

const busy: Partial<Readings> = {
  captured: 1_234_567,
  skipped: 98_765,
  detected: 12_345_678,
  made: 2_000_000,
  published: 1_999_000,
  droppedByAgent: 1_000,
  waiting: 5_000,
  edge: queue({ accepted: 1_999_000, forwarded: 1_500_000, pending: 499_000 }),
  cloud: queue({ accepted: 1_500_000, forwarded: 1_400_000, pending: 100_000 }),
  inbox: queue({ accepted: 1_400_000, forwarded: 1_399_000, pending: 1_000 }),
  inboxWaiting: 1_000,
  stored: 1_399_000,
}

function moment(now: Partial<Readings> = {}, settings: Partial<Moment> = {}): Moment {
  return {
    scene: {
      source: undefined,
      model: 'BlazeFace',
      console: 'http://127.0.0.1:8090/signin?token=nKnDM7F5dkBkRZ0ybUxVBA',
      gallery: 'http://127.0.0.1:8080/',
      guest: {
        server: 'rtmp://127.0.0.1:1935/live',
        key: 'nKnDM7F5dkBkRZ0ybUxVBA',
        page: 'http://127.0.0.1:8889/#key=nKnDM7F5dkBkRZ0ybUxVBA',
      },
      portTaken: undefined,
      data: '/tmp/sightline-demo-abc123',
      keepsData: false,
      before: 0,
    },
    elapsedMs: 83_000,
    now: readings({ atMs: 5000, ...now }),
    before: readings(),
    plugged: true,
    sourceEnded: false,
    cameraDown: undefined,
    edgeHistory: Array.from({ length: 30 }, (_, second) => second),
    note: undefined,
    ...settings,
  }
}

const text = (it: Moment, columns: number, rows?: number) =>
  render(it, columns, rows).map((line) => stripVTControlCharacters(line))

t.test('no line is wider than the terminal, and there are no more of them than it has rows', async (t) => {
  const long = { ...moment().scene, source: `/home/someone/${'a-long-folder/'.repeat(12)}clip.mp4` }
  for (const columns of [120, 80, 60, 40, 20]) {
    for (const it of [
      moment(),
      moment(busy),
      moment(busy, { plugged: false, sourceEnded: true, scene: long, note: 'x'.repeat(200) }),
    ]) {
      const lines = text(it, columns)
      t.ok(lines.length > 5 && lines.length <= 24, `${lines.length} lines`)
      for (const line of lines) t.ok(line.length < columns, `${columns}: ${line}`)
    }
  }
})

t.test('at 80 and at 60 columns nothing that matters is cut off', async (t) => {
  for (const columns of [80, 60]) {
    for (const plugged of [true, false]) {
      const all = text(moment({}, { plugged }), columns).join('\n')
      t.notMatch(all, /…/, all)
      t.match(all, /http:\/\/127\.0\.0\.1:8080\//)
      t.match(all, /\/tmp\/sightline-demo-abc123 +removed at the end/)
      t.match(all, plugged ? /u unplug the link/ : /u plug the link in again/)
      t.match(all, /q quit/)
      t.match(all, /1:23/)
    }
  }
})

t.test('at 50 columns and 15 rows everything that matters is there, the keys too', async (t) => {
  for (const plugged of [true, false]) {
    const all = text(moment({}, { plugged }), 50, 15)
    t.equal(all.length, 15)
    t.notMatch(all.join('\n'), /…/, all.join('\n'))
    t.match(all.join('\n'), /http:\/\/127\.0\.0\.1:8080\//)
    t.match(all.at(-1), plugged ? /u unplug the link +q quit/ : /u plug the link in again +q quit/)
  }
})

t.test('the fewer rows, the fewer lines, and the keys go last', async (t) => {
  for (let rows = 1; rows <= 24; rows += 1) {
    const all = text(moment(), 80, rows)
    t.ok(all.length <= rows, `${all.length} lines in ${rows} rows`)
    t.match(all.at(-1), /u unplug .*q quit/)
  }
  t.match(text(moment(), 80, 2)[0], /Console/)
  t.match(text(moment({}, { sourceEnded: true }), 80, 2)[0], /Done.*q ends the demo/)
})

t.test('the link to the console is whole, or it is said how wide a terminal shows it', async (t) => {
  const link = 'http://127.0.0.1:8090/signin?token=nKnDM7F5dkBkRZ0ybUxVBA'
  for (const columns of [120, 80, 60, 59]) t.match(text(moment(), columns).join('\n'), link)
  t.match(text(moment(), 50).join('\n'), /Console +59 columns show its link/)
})

t.test('when the source has ended, what is done, which key ends it, and what closes then', async (t) => {
  const last = (settings: Partial<Moment>, now: Partial<Readings> = {}) =>
    text(moment(now, { sourceEnded: true, ...settings }), 80).at(-2)
  t.match(last({}), /Done: everything is in the bucket\. q ends the demo, and the gallery closes\./)
  const waiting = { edge: queue({ accepted: 3, forwarded: 1, pending: 2 }) }
  t.match(last({}, waiting), /The source has ended; the last crops are on their way/)
  t.match(last({ plugged: false }, waiting), /the last crops wait for the link/)
  for (const columns of [60, 50])
    t.match(
      text(moment({}, { sourceEnded: true }), columns).at(-2),
      /Done\. q ends the demo, and the gallery closes\./,
    )
})

t.test('a gallery that is elsewhere, and a folder with crops from before, say so', async (t) => {
  const scene = { ...moment().scene, portTaken: 8080, keepsData: true, before: 1234 }
  const wide = text(moment({}, { scene }), 80).join('\n')
  t.match(wide, /Gallery .*8080 is in use; --port chooses another/)
  t.match(wide, /Data .*1,234 crops from before/)
  const all = text(moment({}, { scene }), 60).join('\n')
  t.match(all, /8080 is in use/)
  t.notMatch(all, /…/, all)
})

t.test('why more faces are detected than crops published stands beside them', async (t) => {
  t.match(text(moment(), 80).join('\n'), /faces .*detected .* counted in each picture$/m)
})

t.test('a line stands where it stood, whatever the numbers: nothing jumps', async (t) => {
  const column = (lines: string[], name: string) =>
    lines.find((line) => line.includes(name))?.search(/(waiting|queued|inbox) /)
  for (const columns of [80, 60]) {
    const calm = text(moment(), columns)
    const full = text(moment(busy, { before: readings(busy) }), columns)
    t.equal(calm.length, full.length)
    for (const name of ['agent', 'edge broker', 'cloud broker', 'bucket'])
      t.equal(column(calm, name), column(full, name), name)
  }
})

t.test('the newest seconds of the curve are those that are shown', async (t) => {
  const edgeHistory = [...Array.from({ length: 29 }, () => 0), 7]
  for (const columns of [80, 60])
    t.match(
      text(moment({}, { edgeHistory }), columns).find((line) => line.includes('edge broker')),
      /█$/,
    )
})

t.test('the link: connected, unplugged, on its way back', async (t) => {
  const link = (it: Moment) => text(it, 80).find((line) => line.includes('link to cloud'))
  t.match(link(moment()), /connected/)
  t.match(link(moment({}, { plugged: false })), /unplugged: crops wait at the edge, on disk/)
  t.match(link(moment({ linkUp: false })), /reconnecting/)
})

t.test('a source that has ended is said to have ended', async (t) => {
  t.match(text(moment({}, { sourceEnded: true }), 80).join('\n'), /camera .* the source has ended/)
  t.match(text(moment({}, { sourceEnded: true }), 60).join('\n'), /camera .* has ended/)
  t.notMatch(text(moment(), 80).join('\n'), /has ended/)
})

t.test('a camera that gives no picture is said, with the reason, and nothing jumps', async (t) => {
  const down = moment({}, { cameraDown: 'there is no /dev/video7' })
  t.match(text(down, 80).join('\n'), / no picture[\s\S]*camera error +there is no \/dev\/video7/)
  t.equal(text(down, 80).length, text(moment(), 80).length)
  t.match(renderLine(down), /no picture: there is no \/dev\/video7$/)
})

t.test('rates and latencies are those of the last seconds', async (t) => {
  const latency = (counts: readonly number[]) =>
    new Map([0.01, 0.02, 0.05, Number.POSITIVE_INFINITY].map((limit, at) => [limit, counts[at] ?? 0]))
  const before = readings({ captured: 100, latency: latency([50, 50, 50, 50]) })
  const now = { captured: 150, latency: latency([50, 100, 150, 150]) }
  const lines = text(moment(now, { before }), 80).join('\n')
  t.match(lines, /captured +150 +10\.0\/s/)
  t.match(lines, /half within 20 ms, 99 % within 49 ms/)
  t.match(text(moment(now, { before: undefined }), 80).join('\n'), /captured +150 *\n/)
  t.match(text(moment(), 80).join('\n'), /nothing stored in the last seconds/)
})

t.test('for pipes and logs a moment is one line', async (t) => {
  const line = renderLine(
    moment({ captured: 5, detected: 4, published: 3, stored: 2, edge: queue({ pending: 1 }) }),
  )
  t.equal(line, '  83 s  captured 5  detected 4  published 3  queued 1  stored 2  latency -')
  t.match(renderLine(moment({}, { plugged: false })), /link unplugged$/)
})

t.test('a curve of a queue', async (t) => {
  t.equal(sparkline([]), '')
  t.equal(sparkline([0, 0]), '')
  t.equal(sparkline([0, 1, 50, 100]), ' ▁▄█')
})
