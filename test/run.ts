import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { ENVIRONMENT } from '../bin/runtime.js'
import { sharedData } from './kit/data.ts'

/**
 * `npm test`: every test that this machine has what it takes for, and, in one place, what was left out and how to
 * turn it on. `npm test -- test/broker/*.test.ts` runs some of them.
 */

/**
 * Files that start programs again and again, or wait for clocks. `npm test` leaves them to those who change what they
 * are about, and to CI.
 */
const LONG = [
  'test/broker/connection.test.ts',
  'test/broker/downlink.test.ts',
  'test/broker/listeners.test.ts',
  'test/cli/bad-input.test.ts',
  'test/cli/detect.test.ts',
  'test/cli/doctor.test.ts',
  'test/cli/forget.test.ts',
  'test/cli/healthcheck.test.ts',
  'test/cli/help.test.ts',
  'test/cli/launcher.test.ts',
  'test/cli/models.test.ts',
  'test/cli/quarantine.test.ts',
  'test/cli/queue.test.ts',
  'test/cli/reader-gone.test.ts',
  'test/cli/users.test.ts',
  'test/demo/demo.test.ts',
  'test/detect/choose.test.ts',
  'test/detect/open.test.ts',
  'test/detect/tfjs.test.ts',
  'test/device/cameras.test.ts',
  'test/device/clock.test.ts',
  'test/device/crossings.test.ts',
  'test/device/emit.test.ts',
  'test/device/home-assistant.test.ts',
  'test/device/leak.test.ts',
  'test/device/motion.test.ts',
  'test/device/normal.test.ts',
  'test/device/preview-served.test.ts',
  'test/device/preview.test.ts',
  'test/device/remote-rights.test.ts',
  'test/device/remote.test.ts',
  'test/device/rtsp.test.ts',
  'test/device/streams.test.ts',
  'test/device/testcard.test.ts',
  'test/device/video.test.ts',
  'test/device/watch.test.ts',
  'test/docker/deploy-ssh.test.ts',
  'test/docker/deploy.test.ts',
  'test/docker/edges.test.ts',
  'test/docker/files.test.ts',
  'test/e2e/readme-tls.test.ts',
  'test/e2e/tls.test.ts',
  'test/lib/http-limits.test.ts',
  'test/lib/lock.test.ts',
  'test/lib/passwords.test.ts',
  'test/subscriber/gallery-flood.test.ts',
  'test/subscriber/gallery-index.test.ts',
  'test/subscriber/gallery-page.test.ts',
  'test/subscriber/gallery-serve.test.ts',
  'test/subscriber/retention.test.ts',
]
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

const named = process.argv.slice(2)
const files =
  named.length > 0
    ? named
    : globSync('test/**/*.test.ts', { cwd: ROOT })
        .filter((file) => isSet(LONG_VARIABLE) || !LONG.includes(file))
        .sort()
// tap makes its test class once, for the plugins that .taprc names.
if (!existsSync(`${ROOT}.tap/plugins`) || !existsSync(`${ROOT}node_modules/@tapjs/test/test-built`))
  await tap('build')
const started = performance.now()
const { code, text } = await tap('--reporter=base', ...files)
const seconds = (performance.now() - started) / 1000

const isShortened = named.length === 0 && !isSet(LONG_VARIABLE)
const left = EXTRAS.filter(({ variable, on }) => !on(variable))
if (left.length > 0) {
  process.stdout.write('\nLeft out, for want of:\n')
  for (const { name, variable, how } of left) process.stdout.write(`  ${name}: set ${variable} to ${how}\n`)
}
if (isShortened)
  process.stdout.write(
    `\nLeft out, because they take minutes: ${LONG.length} files. All of them: ${LONG_VARIABLE}=1 npm test\n`,
  )
const totals = /^# \{ total: .*\}$/m.exec(text)?.[0] ?? ''
const count = (name: string) => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
// A file that did not even start has no failed assertion.
const failed = Math.max(count('fail'), code === 0 ? 0 : 1)
const filesRun = files.filter((it) => !it.startsWith('-')).length // flags are tap's
process.stdout.write(`\n${filesRun} files in ${seconds.toFixed(0)} s, ${count('skip')} tests left out\n`)
process.stdout.write(`${count('pass')} passed, ${failed} failed\n`)
process.exitCode = code
