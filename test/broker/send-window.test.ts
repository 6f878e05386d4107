import t from 'tap'
import { SendWindow } from '../../broker/send-window.ts'

interface Line {
  readonly bytesPerMs: number
  /** There and back, of an empty line. */
  readonly roundTripMs: number
}

/** A backlog of equal messages over a line, in its own time. @returns for each message when it was sent and came back */
function over({ bytesPerMs, roundTripMs }: Line, bytes: number, untilMs: number) {
  const window = new SendWindow()
  const inFlight: { messageId: number; backAtMs: number }[] = []
  const waits: { sentAtMs: number; waitedMs: number }[] = []
  let [nowMs, freeAtMs, nextId] = [0, 0, 1]
  while (nowMs < untilMs) {
    while (inFlight.length < 2 || inFlight.length * bytes < window.bytesMax) {
      window.sent(nextId, inFlight.length === 0, nowMs)
      freeAtMs = Math.max(freeAtMs, nowMs) + bytes / bytesPerMs
      inFlight.push({ messageId: nextId, backAtMs: freeAtMs + roundTripMs })
      waits.push({ sentAtMs: nowMs, waitedMs: freeAtMs + roundTripMs - nowMs })
      nextId += 1
    }
    const first = inFlight.shift()
    if (!first) break
    nowMs = first.backAtMs
    window.acknowledged(first.messageId, bytes, nowMs)
  }
  const inSteadyState = waits.filter(({ sentAtMs, waitedMs }) => {
    const backAtMs = sentAtMs + waitedMs
    return backAtMs > untilMs / 2 && backAtMs <= untilMs
  })
  return {
    bytesPerMs: (inSteadyState.length * bytes) / (untilMs / 2),
    waitedMsMax: Math.max(...inSteadyState.map(({ waitedMs }) => waitedMs)),
    window,
  }
}

const MBIT = 125 // bytes a ms
for (const [name, line, bytes] of [
  ['a slow uplink, 1 Mbit/s and 50 ms', { bytesPerMs: MBIT, roundTripMs: 50 }, 20_000],
  ['a satellite, 5 Mbit/s and 700 ms', { bytesPerMs: 5 * MBIT, roundTripMs: 700 }, 20_000],
  ['two seconds there and back', { bytesPerMs: 10 * MBIT, roundTripMs: 2000 }, 20_000],
  ['a house network, 100 Mbit/s and 1 ms', { bytesPerMs: 100 * MBIT, roundTripMs: 1 }, 20_000],
  ['crops as large as the slow line takes in seconds', { bytesPerMs: MBIT / 4, roundTripMs: 100 }, 200_000],
] as const)
  t.test(`${name}: the line is full, and what waits in it is short`, async (t) => {
    const run = over(line, bytes, 60_000)
    t.ok(
      run.bytesPerMs > 0.9 * line.bytesPerMs,
      `${(run.bytesPerMs / line.bytesPerMs).toFixed(2)} of the line`,
    )
    const least = line.roundTripMs + (2 * bytes) / line.bytesPerMs
    t.ok(run.waitedMsMax <= 2 * line.roundTripMs + 700 + least, `waited ${run.waitedMsMax} ms`)
  })

t.test('a line that becomes slower gets less in flight', async (t) => {
  const { window } = over({ bytesPerMs: 100 * MBIT, roundTripMs: 1 }, 20_000, 10_000)
  const before = window.bytesMax
  let nowMs = 10_000
  for (let id = 1_000_000; id < 1_000_200; id += 1) {
    window.sent(id, false, nowMs)
    nowMs += 20_000 / MBIT
    window.acknowledged(id, 20_000, nowMs)
  }
  t.ok(before > 1_000_000 && window.bytesMax < 150_000, `${before} bytes, then ${window.bytesMax}`)
})

t.test('silence is not taken for slowness', async (t) => {
  const { window } = over({ bytesPerMs: 100 * MBIT, roundTripMs: 1 }, 20_000, 10_000)
  const before = window.bytesMax
  window.sent(5_000_000, true, 1_000_000)
  window.acknowledged(5_000_000, 20_000, 1_000_002)
  t.equal(window.bytesMax, before)
})
