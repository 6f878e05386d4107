import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ENVIRONMENT } from '../bin/runtime.js'
import { sharedData } from './kit/data.ts'

/**
 * `npm test`: every test that this machine has what it takes for, and, in one place, what was left out and how to
 * turn it on. `npm test -- test/broker/*.test.ts` runs some of them.
 */

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
    name: 'Mosquitto 2',
    variable: 'SIGHTLINE_TEST_MOSQUITTO',
    on: isSet,
    how: 'the path of the program, such as /usr/sbin/mosquitto',
  },
  {
    name: 'Chromium',
    variable: 'SIGHTLINE_TEST_CHROMIUM',
    on: isSet,
    how: 'the path of the program, such as /usr/bin/chromium',
  },
] as const

function isSet(variable: string): boolean {
  return (process.env[variable] ?? '') !== ''
}

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const RESULTS = `${ROOT}.tap/results.tap`

async function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...ENVIRONMENT, ...process.env },
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}

const files =
  process.argv.length > 2 ? process.argv.slice(2) : globSync('test/**/*.test.ts', { cwd: ROOT }).sort()
// tap makes its test class once, for the plugins that .taprc names.
if (!existsSync(`${ROOT}.tap/plugins`) || !existsSync(`${ROOT}node_modules/@tapjs/test-built`))
  await run('tap', ['build'])
const started = performance.now()
const code = await run('tap', ['--reporter=terse', `--output-file=${RESULTS}`, ...files])
const seconds = (performance.now() - started) / 1000

const left = EXTRAS.filter(({ variable, on }) => !on(variable))
if (left.length > 0) {
  process.stdout.write('\nLeft out, for want of:\n')
  for (const { name, variable, how } of left) process.stdout.write(`  ${name}: set ${variable} to ${how}\n`)
}
process.stdout.write(`\n${files.length} files in ${seconds.toFixed(0)} s\n`)
const totals = /^# \{ total: .*\}$/m.exec(readFileSync(RESULTS, 'utf8'))?.[0] ?? ''
const count = (name: string) => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
const failed = Math.max(count('fail'), code === 0 ? 0 : 1)
process.stdout.write(`${count('pass')} passed, ${failed} failed\n`)
process.exitCode = code
