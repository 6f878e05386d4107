import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { median, mosquitto, type Stack, sightline } from './stacks.ts'

/**
 * Edge publisher to stored file: 5,000 crops of 20 KB, from the first publish until the last file is there, by the
 * files' own times. The same load generator on every line, the lines in turn, medians.
 */
const CROPS = 5000
/** Sent first and not counted: programs that run for months are compiled, those just started are for seconds yet. */
const WARM_UP_CROPS = 6000
const BYTES = 20_000
const WINDOW = 200
const ROUNDS = 5
/** Looking for files costs CPU time too; what is measured are their own times. */
const POLL_MS = 1000
const WARM_UP_REST_MS = 1000
const WAIT_MS_MAX = 120_000

export interface TransportResult {
  readonly perSecond: ReadonlyMap<string, number>
  /** Sightline by Mosquitto with the script that acknowledges what it has written. */
  readonly ratioWritten: number
  /** Sightline by Mosquitto with the usual script, which acknowledges before it writes. */
  readonly ratioReceived: number
  /** CPU time a crop, ms, medians; by line and program. */
  readonly cpuMs: ReadonlyMap<string, ReadonlyMap<string, number>>
}

export async function benchTransport(rounds = ROUNDS): Promise<TransportResult> {
  const lines = [
    () => sightline({ subscriber: true }),
    () => mosquitto('written', { subscriber: true }),
    () => mosquitto('received', { subscriber: true }),
  ]
  const rates = new Map<string, number[]>()
  const cpu = new Map<string, Map<string, number[]>>()
  for (let round = 0; round < rounds; round += 1) {
    // Each line is the first one in turn.
    const turn = lines.map((_, at) => lines[(at + round) % lines.length] as (typeof lines)[number])
    for (const open of turn) {
      execFileSync('sync') // what the line before has left to the system to write is not for this one to wait for
      await using stack = await open()
      const { perSecond, cpuMs } = await measure(stack)
      rates.set(stack.name, [...(rates.get(stack.name) ?? []), perSecond])
      const programs = cpu.get(stack.name) ?? new Map<string, number[]>()
      cpu.set(stack.name, programs)
      for (const [program, ms] of cpuMs) programs.set(program, [...(programs.get(program) ?? []), ms])
      process.stdout.write(`  round ${round + 1}: ${stack.name}: ${perSecond.toFixed(0)} crops/s\n`)
    }
  }
  const names = [...rates.keys()] as [string, string, string] // the first round has them in their order
  const medianOf = (name: string) => median(rates.get(name) ?? [])
  // Ratios of neighbours in time, then the median: what else the machine does meanwhile cancels out.
  const ratio = (rival: string) =>
    median((rates.get(names[0]) ?? []).map((ours, at) => ours / (rates.get(rival)?.[at] ?? Number.NaN)))
  return {
    perSecond: new Map(names.map((name) => [name, medianOf(name)])),
    ratioWritten: ratio(names[1]),
    ratioReceived: ratio(names[2]),
    cpuMs: new Map(
      [...cpu].map(([line, programs]) => [
        line,
        new Map([...programs].map(([program, values]) => [program, median(values)])),
      ]),
    ),
  }
}

/** One run on a fresh line. @returns crops a second, and CPU time a crop by program, ms */
export async function measure(
  stack: Stack,
): Promise<{ perSecond: number; cpuMs: ReadonlyMap<string, number> }> {
  await send(stack, WARM_UP_CROPS, WARM_UP_CROPS)
  await sleep(WARM_UP_REST_MS)
  const before = new Set(crops(stack.files))
  const cpuBefore = stack.cpuTimes()
  const startedAtMs = await send(stack, CROPS, WARM_UP_CROPS + CROPS)
  const endedAtMs = Math.max(
    ...crops(stack.files)
      .filter((file) => !before.has(file))
      .map((file) => statSync(join(stack.files, file)).mtimeMs),
  )
  const cpuMs = [...stack.cpuTimes()].map(
    ([program, seconds]) => [program, ((seconds - (cpuBefore.get(program) ?? 0)) * 1000) / CROPS] as const,
  )
  return { perSecond: (CROPS / (endedAtMs - startedAtMs)) * 1000, cpuMs: new Map(cpuMs) }
}

/** Publishes, and waits until so many files are there in all. @returns when the first was published, ms since 1970 */
async function send(stack: Stack, count: number, filesTotal: number): Promise<number> {
  const load = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('./load.ts', import.meta.url)),
      '--url',
      stack.edgeUrl,
      '--count',
      String(count),
      '--bytes',
      String(BYTES),
      '--window',
      String(WINDOW),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let answer = ''
  load.stdout.on('data', (text: Buffer) => {
    answer += text.toString()
  })
  const ended = once(load, 'exit')
  const until = Date.now() + WAIT_MS_MAX
  while (crops(stack.files).length < filesTotal) {
    if (Date.now() > until)
      throw new Error(`${stack.name}: only ${crops(stack.files).length} of ${filesTotal} crops arrived`)
    await sleep(POLL_MS)
  }
  await ended
  return (JSON.parse(answer) as { startedAtMs: number }).startedAtMs
}

function crops(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      (name) => name.endsWith('.jpg') && !name.startsWith('.'),
    )
  } catch {
    return [] // not made yet
  }
}

export function printTransport({ perSecond, ratioWritten, ratioReceived, cpuMs }: TransportResult): void {
  process.stdout.write(
    `\nTransport: edge publisher to stored file, ${CROPS} crops of ${BYTES / 1000} KB, after ${WARM_UP_CROPS} to warm up, rounds in turn, medians\n`,
  )
  for (const [name, rate] of perSecond)
    process.stdout.write(
      `  ${name.padEnd(48)} ${rate.toFixed(0).padStart(6)} crops/s; CPU a crop: ${[...(cpuMs.get(name) ?? [])].map(([program, ms]) => `${program} ${ms.toFixed(2)} ms`).join(', ')}\n`,
    )
  process.stdout.write(
    `  Sightline (on disk with one keeper before it is acknowledged) is ${ratioWritten.toFixed(2)} times Mosquitto whose script acknowledges what it has written (bar: 1.0),\n`,
  )
  process.stdout.write(
    `  and ${ratioReceived.toFixed(2)} times Mosquitto whose script acknowledges before it writes and loses what it had not\n`,
  )
}

if (import.meta.main) printTransport(await benchTransport(Number(process.argv[2] ?? ROUNDS)))
