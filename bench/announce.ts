import { execFileSync } from 'node:child_process'
import { MqttLink } from '../lib/mqtt/link.ts'
import { readBatch } from '../wire/stored.ts'
import { median, sightline } from './stacks.ts'
import { measure } from './transport.ts'

/**
 * What it costs the line that the subscriber says what the bucket has: the transport bench with and without, in turn,
 * a reader with a persistent session at the cloud broker in both.
 */
const PAIRS = 5

export interface AnnounceResult {
  /** Crops a second, medians. */
  readonly without: number
  readonly with: number
  /** Of CPU time of all programs a crop, ms, medians. */
  readonly cpuMsWithout: number
  readonly cpuMsWith: number
  readonly subscriberCpuMsWithout: number
  readonly subscriberCpuMsWith: number
}

interface Run {
  readonly perSecond: number
  readonly cpuMs: number
  readonly subscriberCpuMs: number
}

export async function benchAnnounce(pairs = PAIRS): Promise<AnnounceResult> {
  const runs = new Map<boolean, Run[]>([
    [false, []],
    [true, []],
  ])
  for (let pair = 0; pair < pairs; pair += 1) {
    // Each is the first one in turn.
    for (const announce of pair % 2 === 0 ? [false, true] : [true, false]) {
      execFileSync('sync') // what the run before has left to the system to write is not for this one to wait for
      const done = await run(announce)
      runs.get(announce)?.push(done)
      process.stdout.write(
        `  pair ${pair + 1}: ${announce ? 'with' : 'without'} announcements: ${done.perSecond.toFixed(0)} crops/s\n`,
      )
    }
  }
  const of = (announce: boolean, what: keyof Run) =>
    median((runs.get(announce) ?? []).map((run) => run[what]))
  return {
    without: of(false, 'perSecond'),
    with: of(true, 'perSecond'),
    cpuMsWithout: of(false, 'cpuMs'),
    cpuMsWith: of(true, 'cpuMs'),
    subscriberCpuMsWithout: of(false, 'subscriberCpuMs'),
    subscriberCpuMsWith: of(true, 'subscriberCpuMs'),
  }
}

async function run(announce: boolean): Promise<Run> {
  await using stack = await sightline({ subscriber: true, announce })
  await using keeper = await MqttLink.open({
    url: stack.cloudUrl,
    clientId: 'keeper',
    protocol: 4,
    clean: false,
    packetBytesMax: 1e6,
    keepaliveS: 60,
    connectMsMax: 5000,
  })
  let bytes = 0
  let last: Buffer | undefined
  keeper.on('publish', ({ payload, messageId }) => {
    bytes += payload.length
    last = payload
    keeper.puback(messageId as number)
  })
  await keeper.subscribe('sightline/v1/stored/+', 1)
  const { perSecond, cpuMs } = await measure(stack)
  // That it has said something at all, and what.
  if (announce && (!last || readBatch(last).announcements.length === 0 || bytes === 0))
    throw new Error('the subscriber has announced nothing')
  return {
    perSecond,
    cpuMs: [...cpuMs.values()].reduce((sum, ms) => sum + ms, 0),
    subscriberCpuMs: cpuMs.get('subscriber') ?? Number.NaN,
  }
}

export function printAnnounce(result: AnnounceResult): void {
  const ratio = result.with / result.without
  process.stdout.write(
    `\nAnnouncements: transport with and without, in turn, medians
  without ${result.without.toFixed(0)} crops/s, CPU a crop ${result.cpuMsWithout.toFixed(2)} ms (subscriber ${result.subscriberCpuMsWithout.toFixed(2)} ms)
  with    ${result.with.toFixed(0)} crops/s, CPU a crop ${result.cpuMsWith.toFixed(2)} ms (subscriber ${result.subscriberCpuMsWith.toFixed(2)} ms)
  with is ${ratio.toFixed(3)} times without (bar: 0.95); CPU time of all programs ${(result.cpuMsWith / result.cpuMsWithout).toFixed(3)} times, of the subscriber ${(result.subscriberCpuMsWith / result.subscriberCpuMsWithout).toFixed(3)} times\n`,
  )
}

if (import.meta.main) printAnnounce(await benchAnnounce(Number(process.argv[2] ?? PAIRS)))
