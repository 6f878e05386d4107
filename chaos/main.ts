import { parseArgs } from 'node:util'
import { seeded } from '../test/kit/wait.ts'
import { CONSOLE_TRIALS } from './console.ts'
import { DAMAGE_TRIALS } from './damage.ts'
import { HOSTILE_TRIALS } from './hostile.ts'
import { INSIDER } from './insider.ts'
import { NOTICES_TRIAL } from './notices.ts'
import { OUTSIDER } from './outsider.ts'
import { OVERLOAD_TRIALS } from './overload.ts'
import { RECORDING_TRIALS } from './recordings.ts'
import { LINE_TRIALS } from './scenarios.ts'
import { STORAGE_TRIALS } from './storage.ts'
import type { Trial, Verdict } from './trial.ts'
import { WORKERS_TRIAL } from './workers.ts'

/**
 * `npm run chaos`: kills, cuts and stalls while crops and recordings flow through the whole line, and then the proof: all that
 * was acknowledged is in the bucket, whole and once, and the books of every keeper balance. Loopback only, bounded,
 * seeded. Ends with one line, and 0 only where nothing was found.
 */
const TRIALS: readonly Trial[] = [
  ...LINE_TRIALS,
  ...OVERLOAD_TRIALS,
  ...STORAGE_TRIALS,
  ...DAMAGE_TRIALS,
  ...CONSOLE_TRIALS,
  NOTICES_TRIAL,
  ...RECORDING_TRIALS,
  ...HOSTILE_TRIALS,
  INSIDER,
  OUTSIDER,
  WORKERS_TRIAL,
]

/** They mostly wait: for programs to start, for backoffs, for what is to be noticed. */
const SIDE_BY_SIDE_IN_SHORT = 2

const HELP = `npm run chaos [-- --short] [-- --seed N] [-- TRIAL ...]

  --short    fewer faults and crops: under five minutes
  --seed N   the same faults at the same moments, as far as a machine can

Trials:
${TRIALS.map(({ name, what }) => `  ${name.padEnd(20)} ${what}`).join('\n')}
`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      short: { type: 'boolean', default: false },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const unknown = positionals.find((name) => !TRIALS.some((trial) => trial.name === name))
  if (unknown !== undefined) {
    process.stderr.write(`There is no trial "${unknown}".\n\n${HELP}`)
    return 64
  }
  const seed = Number(values.seed)
  const chosen = TRIALS.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  process.stdout.write(`chaos, seed ${seed}, ${chosen.length} trials${values.short ? ', short' : ''}\n`)
  let crops = 0
  let clips = 0
  const failed: string[] = []
  const leftOut: string[] = []
  const attempt = async (trial: Trial) => {
    const start = performance.now()
    const verdict = await run(trial, values.short, seed + TRIALS.indexOf(trial))
    crops += verdict.crops ?? 0
    clips += verdict.clips ?? 0
    const word = verdict.leftOut !== undefined ? 'left' : verdict.faults.length === 0 ? 'ok  ' : 'FAIL'
    const seconds = ((performance.now() - start) / 1000).toFixed(0)
    process.stdout.write(
      `  ${word} ${trial.name.padEnd(20)} ${trial.what}: ${verdict.leftOut ?? `${verdict.said}, ${seconds} s`}\n`,
    )
    for (const fault of verdict.faults) process.stdout.write(`         ${fault}\n`)
    if (verdict.faults.length > 0) failed.push(trial.name)
    if (verdict.leftOut !== undefined) leftOut.push(trial.name)
  }
  const attemptAll = async (trials: Trial[], sideBySide: number) => {
    const worker = async () => {
      for (let trial = trials.shift(); trial; trial = trials.shift()) await attempt(trial)
    }
    await Promise.all(Array.from({ length: sideBySide }, worker))
  }
  await attemptAll(
    chosen.filter(({ alone }) => !alone),
    values.short ? SIDE_BY_SIDE_IN_SHORT : 1,
  )
  await attemptAll(
    chosen.filter(({ alone }) => alone),
    1,
  )
  const without = leftOut.length === 0 ? '' : `; left out here: ${leftOut.join(', ')}`
  process.stdout.write(
    failed.length === 0
      ? `as promised: ${chosen.length - leftOut.length} trials, ${crops} acknowledged crops and ${clips} chunks of recordings are in the bucket, whole and once, and all books balance${without}\n`
      : `NOT AS PROMISED in ${failed.join(', ')}; again with: npm run chaos -- --seed ${seed} ${values.short ? '--short ' : ''}${failed.join(' ')}\n`,
  )
  return failed.length === 0 ? 0 : 1
}

async function run(trial: Trial, short: boolean, seed: number): Promise<Verdict> {
  try {
    return await trial.run({ short, random: seeded(seed) })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return { faults: [`it could not be carried out: ${why}`], said: 'given up' }
  }
}

process.exitCode = await main()
