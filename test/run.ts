import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { ENVIRONMENT } from '../bin/runtime.js'
import { sharedData } from './kit/data.ts'

/**
 * `npm test`: every test that this machine has what it takes for, and, in one place, what was left out and how to
 * turn it on. `npm test -- test/broker/*.test.ts` runs some of them.
 */

/**
 * Where custody is kept, and what it stands on (the private hooks of aedes, mqtt-packet and LMDB among it): these folders'
 * tests are always in. Of the others, the cheapest are, as many as the budget has room for; the rest is left to those who
 * change what they are about, and to CI. A file that has not been measured yet is in.
 */
const KEEPERS = /^test\/(wire|lib|store|broker|subscriber|kit)\//
/** Of one CPU, seconds: three minutes on two, with something to spare for what cannot be shared out evenly. */
const BUDGET_CPU_S = 270
/** What each file takes: `npm test -- --measure` writes it, of all files or of those named behind it. */
const TIMES_FILE = 'test/times.json'
const LONG_VARIABLE = 'SIGHTLINE_TEST_LONG'

/** What some tests need besides npm, and the variable that says where it is. */
const EXTRAS = [
  {
    name: 'photos, clips and models',
    variable: 'SIGHTLINE_TEST_DATA',
    on: () => sharedData('photos') !== undefined,
    how: 'the folder that holds photos/, video/ and models/',
  },
  {
    name: 'an S3 server',
    variable: 'SIGHTLINE_TEST_S3',
    on: isSet,
    how: 'its address, such as http://127.0.0.1:7480 (credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)',
  },
  {
    name: 'PostgreSQL 12 or later',
    variable: 'SIGHTLINE_TEST_POSTGRES',
    on: isSet,
    how: 'its address, such as postgres://user:password@127.0.0.1:5432/database (a user who may make databases and roles)',
  },
  {
    name: 'Mosquitto 2',
    variable: 'SIGHTLINE_TEST_MOSQUITTO',
    on: isSet,
    how: 'the path of the program, such as /usr/sbin/mosquitto',
  },
  {
    name: 'the clients mosquitto_pub and mosquitto_sub',
    variable: 'SIGHTLINE_TEST_MQTT_CLIENTS',
    on: isSet,
    how: 'the folder they are in, such as /usr/bin',
  },
  {
    name: 'Paho for Python',
    variable: 'SIGHTLINE_TEST_PAHO',
    on: isSet,
    how: 'a Python that has paho-mqtt 1.6, such as /usr/bin/python3',
  },
  {
    name: 'Chromium',
    variable: 'SIGHTLINE_TEST_CHROMIUM',
    on: isSet,
    how: 'the path of the program, such as /usr/bin/chromium',
  },
  {
    name: 'a generator of API clients',
    variable: 'SIGHTLINE_TEST_CLIENT_GENERATOR',
    on: isSet,
    how: 'a folder: npm install --prefix FOLDER openapi-typescript openapi-fetch typescript@5',
  },
] as const

function isSet(variable: string): boolean {
  return (process.env[variable] ?? '') !== ''
}

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/**
 * Runs tap, passing on what it prints. Through a pipe: told to write its results to a file, it keeps the reasons of
 * failures to itself. CI: otherwise it would write each state of its display below the last.
 */
async function tap(...args: string[]): Promise<{ code: number; text: string }> {
  const child = spawn('tap', [process.stdout.isTTY ? '--color' : '--no-color', ...args], {
    cwd: ROOT,
    stdio: ['inherit', 'pipe', 'inherit'],
    env: { ...ENVIRONMENT, CI: '1', ...process.env },
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    process.stdout.write(chunk)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code: code ?? 1, text: stripVTControlCharacters(text) }
}

interface Time {
  /** Of this machine's CPU, with the programs that the test starts, and from start to end; s. */
  readonly cpuS: number
  readonly wallS: number
}

const readTimes = (): Record<string, Time> => JSON.parse(readFileSync(`${ROOT}${TIMES_FILE}`, 'utf8'))

/** What the processes have used that this one has started and that have ended, s. Linux counts in hundredths. */
function cpuOfChildrenS(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[13]) + Number(fields[14])) / 100
}

/** Runs each file alone, and writes down what it took. CPU time is much the same on a busy machine; wall time is not. */
async function measure(files: readonly string[]): Promise<number> {
  const times = readTimes()
  for (const file of Object.keys(times)) if (!existsSync(`${ROOT}${file}`)) delete times[file]
  let failed = 0
  for (const file of files) {
    const [cpuS, start] = [cpuOfChildrenS(), performance.now()]
    const env = { ...ENVIRONMENT, TAP_TIMEOUT: '600', ...process.env }
    const child = spawn(process.execPath, [file], { cwd: ROOT, env, stdio: 'ignore' })
    const [code] = await once(child, 'close')
    const time = { cpuS: tenths(cpuOfChildrenS() - cpuS), wallS: tenths((performance.now() - start) / 1000) }
    process.stdout.write(`${file}: ${time.cpuS} s of CPU, ${time.wallS} s${code === 0 ? '' : ', FAILED'}\n`)
    if (code === 0) times[file] = time
    else failed += 1
    writeFileSync(
      `${ROOT}${TIMES_FILE}`,
      `${JSON.stringify(times, Object.keys(times).sort().concat('cpuS', 'wallS'), 2)}\n`,
    )
  }
  return failed
}

const tenths = (value: number) => Math.round(value * 10) / 10

/** @returns those to run, the longest first: so that none is left running alone at the end */
function choose(all: readonly string[]): string[] {
  const times = readTimes()
  const byCpu = all.toSorted((a, b) => (times[a]?.cpuS ?? 0) - (times[b]?.cpuS ?? 0))
  const isIn = (file: string) => KEEPERS.test(file) || times[file] === undefined
  let leftS = BUDGET_CPU_S
  for (const file of byCpu) if (isIn(file)) leftS -= times[file]?.cpuS ?? 0
  const chosen = byCpu.filter((file) => {
    if (isIn(file)) return true
    leftS -= times[file]?.cpuS ?? 0
    return leftS >= 0
  })
  return chosen.sort((a, b) => (times[b]?.wallS ?? 0) - (times[a]?.wallS ?? 0))
}

const isMeasuring = process.argv.includes('--measure')
const named = process.argv.slice(2).filter((it) => it !== '--measure')
const all = globSync('test/**/*.test.ts', { cwd: ROOT }).sort()
if (isMeasuring) process.exit(await measure(named.length > 0 ? named : all))
const isShortened = named.length === 0 && !isSet(LONG_VARIABLE)
const files = named.length > 0 ? named : isShortened ? choose(all) : all
// tap makes its test class once, for the plugins that .taprc names.
if (!existsSync(`${ROOT}.tap/plugins`) || !existsSync(`${ROOT}node_modules/@tapjs/test/test-built`))
  await tap('build')
const started = performance.now()
const { code, text } = await tap('--reporter=base', ...files)
const seconds = (performance.now() - started) / 1000

const left = EXTRAS.filter(({ variable, on }) => !on(variable))
if (left.length > 0) {
  process.stdout.write('\nLeft out, for want of:\n')
  for (const { name, variable, how } of left) process.stdout.write(`  ${name}: set ${variable} to ${how}\n`)
}
if (isShortened)
  process.stdout.write(
    `\nLeft out, because they take minutes: ${all.length - files.length} files (${TIMES_FILE} says how long). All of them: ${LONG_VARIABLE}=1 npm test\n`,
  )
const totals = /^# \{ total: .*\}$/m.exec(text)?.[0] ?? ''
const count = (name: string) => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
// A file that did not even start has no failed assertion.
const failed = Math.max(count('fail'), code === 0 ? 0 : 1)
const filesRun = files.filter((it) => !it.startsWith('-')).length // flags are tap's
process.stdout.write(`\n${filesRun} files in ${seconds.toFixed(0)} s, ${count('skip')} tests left out\n`)
process.stdout.write(`${count('pass')} passed, ${failed} failed\n`)
process.exitCode = code
