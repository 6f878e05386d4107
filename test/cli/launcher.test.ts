import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Store } from '../../store/store.ts'
import { freePort } from '../kit/ports.ts'
import { brokerConfig, type LogLine, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { configFile, Sightline } from './sightline.ts'

// They wait for clocks, each for its own programs'.
t.jobs = 4

t.test('Ctrl-C, which reaches the launcher and the program, is one wish to stop: it drains', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))])
    await broker.line(({ msg }) => msg === 'broker ready')
    broker.killGroup(signal)
    const { status } = await broker.end()
    t.equal(status, 0, signal)
    t.strictSame(
      broker.log.slice(-3).map(({ msg }) => msg),
      ['draining', 'books', 'stopped'],
    )
  }
})

t.test('a signal to the launcher alone reaches the program', async (t) => {
  const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))])
  await broker.line(({ msg }) => msg === 'broker ready')
  broker.kill('SIGTERM')
  t.equal((await broker.end()).status, 0)
  t.equal(broker.log.at(-1)?.msg, 'stopped')
})

t.test('a second wish to stop, later, ends a program that drains for long', async (t) => {
  // Nobody takes its crops: it drains until its deadline.
  const config = { http: { port: 0 }, broker: { url: 'mqtt://127.0.0.1:1' }, drain: { deadline: '60s' } }
  const device = Sightline.start(t, ['device', '--config', configFile(t, config)])
  await device.until(() =>
    device.log.some(({ code, pending }) => code === 'BROKER_UNREACHABLE' && Number(pending) > 0),
  )
  device.kill('SIGTERM')
  await device.line(({ msg }) => msg === 'draining')
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.notOk(device.ended)
  device.kill('SIGTERM')
  const { status, sentence } = await device.end()
  t.equal(status, 75)
  t.match(sentence, 'second stop signal')
})

const HANG = join(import.meta.dirname, 'hang.ts')
const LINUX = process.platform === 'linux'

/** The environment of a broker that hangs as `hang.ts` says, under a launcher that waits for some seconds only. */
const hanging = (when: string, more: Record<string, string> = {}) => ({
  NODE_OPTIONS: `--import=${HANG}`,
  TEST_HANG: when,
  WATCHDOG_START_SECONDS: '6',
  WATCHDOG_SECONDS: '3',
  ...more,
})

const isReady = ({ msg }: LogLine) => msg === 'broker ready'
const isHung = ({ code }: LogLine) => code === 'PROGRAM_HUNG'

async function restartsOf(broker: Sightline): Promise<string | undefined> {
  const { http } = broker.log.findLast(isReady) as LogLine
  const text = await (await fetch(`${http}/metrics`)).text()
  return /^sightline_watchdog_restarts_total\{.*\} (\d+)$/m.exec(text)?.[1]
}

/** The process that a launcher has started: its oldest child, beside a systemd-notify of the moment. */
const programOf = (launcher: Sightline) =>
  Number.parseInt(readFileSync(`/proc/${launcher.pid}/task/${launcher.pid}/children`, 'utf8'), 10)

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

t.test('a start that hangs is killed and made again: before the program’s code, and in it', async (t) => {
  for (const when of ['load', 'opening the store']) {
    const once = join(temporaryFolder(t), 'once')
    const config = configFile(t, brokerConfig(t))
    const broker = Sightline.start(t, ['broker', '--config', config], hanging(when, { TEST_HANG_ONCE: once }))
    await broker.line(isReady, 30_000)
    const said = broker.log.find(isHung)
    t.match(said, { level: 50, program: 'launcher', command: 'broker' }, when)
    t.match(
      said?.msg,
      /^The broker hangs: no response for 6 s during its start; killing it\. It is restarted/,
    )
    if (LINUX)
      t.match(
        (said as LogLine & { threads: string[] }).threads[0],
        / \S+ S futex.*: 202 0x/,
        'what its main thread waited in',
      )
    t.equal(await restartsOf(broker), '1')
    broker.kill('SIGTERM')
    t.equal((await broker.end()).status, 0)
  }
})

t.test('a program that hangs later is killed and started again, with its port and its store', async (t) => {
  const settings = { listeners: [{ port: await freePort() }], http: { port: await freePort() } }
  const config = configFile(t, brokerConfig(t, settings))
  const broker = Sightline.start(t, ['broker', '--config', config], hanging('SIGUSR2'))
  await broker.line(isReady)
  t.equal(await restartsOf(broker), '0')
  for (const restarts of [1, 2]) {
    process.kill(programOf(broker), 'SIGUSR2')
    await broker.until(() => broker.log.filter(isReady).length === restarts + 1, 30_000)
    t.equal(await restartsOf(broker), String(restarts))
  }
  t.equal(broker.log.filter(isHung).length, 2)
  broker.kill('SIGTERM')
  t.equal((await broker.end()).status, 0)
})

t.test('a program that hangs while it is to end is killed, and not started again', async (t) => {
  const broker = Sightline.start(
    t,
    ['broker', '--config', configFile(t, brokerConfig(t))],
    hanging('draining'),
  )
  await broker.line(isReady)
  broker.kill('SIGTERM')
  const { status } = await broker.end()
  t.equal(status, 75)
  t.match(broker.log.find(isHung)?.msg, 'not restarted')
  t.equal(broker.log.filter(isReady).length, 1)
})

t.test('starts that hang one after the other are given up, with a status and a sentence', async (t) => {
  const env = hanging('load', { WATCHDOG_START_SECONDS: '1' })
  const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))], env)
  const { status } = await broker.end()
  t.equal(status, 75)
  t.equal(broker.log.filter(isHung).length, 3)
  t.match(broker.log.at(-1)?.msg, /3 starts in a row hung: giving up\. Try again later/)
})

t.test('a launcher that is told to end while a program waits to be started again ends', async (t) => {
  const env = hanging('load', { WATCHDOG_START_SECONDS: '1' })
  const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))], env)
  await broker.until(() => broker.log.filter(isHung).length === 2)
  await sleep(500) // killed by now; the third start is to come in 2 s
  broker.kill('SIGTERM')
  t.equal((await broker.end()).status, 0)
  t.equal(broker.log.filter(isHung).length, 2)
})

t.test('a start that takes long and says that it lives is left alone', async (t) => {
  const settings = brokerConfig(t, { listeners: [{ port: await freePort() }] })
  const config = configFile(t, settings)
  await fill((settings.store as { folder: string }).folder, 300)
  const env = hanging('', { TEST_SLOW_READ_MS: '1200', WATCHDOG_START_SECONDS: '5' })
  const broker = Sightline.start(t, ['broker', '--config', config], env)
  const opening = await broker.line(({ msg }) => msg === 'opening the store')
  const ready = await broker.line(isReady, 60_000)
  const tookMs = Date.parse(String(ready.time)) - Date.parse(String(opening.time))
  t.ok(tookMs > 10_000, `the start took ${tookMs} ms, in which no event came`)
  t.notOk(broker.log.find(isHung))
  broker.kill('SIGTERM')
  t.equal((await broker.end()).status, 0)
})

t.test(
  'a program that somebody has stopped, or a launcher that was, does no harm',
  { skip: !LINUX },
  async (t) => {
    const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))], hanging(''))
    await broker.line(isReady)
    const program = programOf(broker)
    for (const pid of [program, broker.pid]) {
      process.kill(pid, 'SIGSTOP')
      await sleep(5000)
      process.kill(pid, 'SIGCONT')
      await sleep(1500)
    }
    t.equal(programOf(broker), program)
    t.notOk(broker.log.find(isHung))
    broker.kill('SIGTERM')
    t.equal((await broker.end()).status, 0)
  },
)

t.test(
  'a launcher that is killed takes its program along, which drains: port and store are free',
  async (t) => {
    const settings = { listeners: [{ port: await freePort() }], http: { port: await freePort() } }
    const config = configFile(t, brokerConfig(t, settings))
    const first = Sightline.start(t, ['broker', '--config', config])
    await first.line(isReady)
    const program = programOf(first)
    first.kill('SIGKILL')
    await until('its program is gone', () => isGone(program), 5000)
    await first.end()
    t.strictSame(
      first.log.slice(-3).map(({ msg }) => msg),
      ['draining', 'books', 'stopped'],
    )
    const second = Sightline.start(t, ['broker', '--config', config])
    t.ok(await second.line(isReady))
  },
)

t.test(
  'so does one that is killed while its program drains already: the drain is not cut short',
  async (t) => {
    // Nobody takes its crops: it drains until its deadline.
    const config = { http: { port: 0 }, broker: { url: 'mqtt://127.0.0.1:1' }, drain: { deadline: '4s' } }
    const device = Sightline.start(t, ['device', '--config', configFile(t, config)])
    await device.until(() =>
      device.log.some(({ code, pending }) => code === 'BROKER_UNREACHABLE' && Number(pending) > 0),
    )
    const program = programOf(device)
    device.kill('SIGTERM')
    await device.line(({ msg }) => msg === 'draining')
    await sleep(1500)
    device.kill('SIGKILL')
    await until('its program is gone', () => isGone(program), 10_000)
    t.match((await device.end()).sentence, 'crops were lost')
  },
)

t.test('a command that is no service ends with its launcher too', async (t) => {
  const folder = temporaryFolder(t)
  const preview = Sightline.start(t, ['preview', '--source', 'testcard', '--port', '0'], { TMPDIR: folder })
  await preview.until(() => /http:\/\//.test(preview.stdout))
  const program = programOf(preview)
  preview.kill('SIGKILL')
  await until('its program is gone', () => isGone(program), 10_000)
})

t.test('SIGTERM to npx or "npm run", which passes it on to a shell alone, drains the program', async (t) => {
  for (const [command = '', ...args] of [
    ['npx', '--no', 'sightline', 'broker'],
    ['npm', 'run', 'sightline', '--', 'broker'],
  ]) {
    const npm = spawn(command, [...args, '--config', configFile(t, brokerConfig(t))], {
      cwd: resolve(import.meta.dirname, '..', '..'),
      env: { ...process.env, npm_config_cache: temporaryFolder(t) }, // npx writes there
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    })
    t.after(() => isGone(npm.pid as number) || process.kill(-(npm.pid as number), 'SIGKILL'))
    let said = ''
    npm.stderr.on('data', (text) => {
      said += text
    })
    await until('it is ready', () => said.includes('broker ready'), 30_000)
    npm.kill('SIGTERM')
    // Nobody who could write is left when it closes.
    await once(npm.stderr, 'close')
    t.match(said, /"draining"[\s\S]*"stopped"/, command)
  }
})

const noSystemd =
  ['systemd-notify', 'python3'].some((it) => spawnSync(it, ['--version']).status !== 0) &&
  'there is no systemd-notify here, or no Python to take its word'

t.test(
  'systemd is told of a start that goes on, that the program is ready, that the launcher lives',
  { skip: noSystemd },
  async (t) => {
    // As systemd's end of it, where each unit's launcher sends to.
    const socket = join(temporaryFolder(t), 'notify')
    const script =
      'import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind(sys.argv[1])\nwhile True: print(s.recv(4096).decode(),flush=True)'
    const systemd = spawn('python3', ['-c', script, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => void systemd.kill())
    let told = ''
    systemd.stdout.on('data', (text) => {
      told += text
    })
    await until('it listens', () => existsSync(socket))
    const env = hanging('load', {
      TEST_HANG_ONCE: join(temporaryFolder(t), 'once'),
      NOTIFY_SOCKET: socket,
      WATCHDOG_USEC: '6000000',
    })
    const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))], env)
    await broker.line(isReady, 30_000)
    await until('it is told so', () => told.includes('READY=1'))
    t.match(told, /^EXTEND_TIMEOUT_USEC=6000000$/m)
    t.notMatch(told, 'WATCHDOG=1')
    await until('it is told that it lives', () => (told.match(/^WATCHDOG=1$/gm)?.length ?? 0) >= 2)
    t.equal(told.match(/^READY=1$/gm)?.length, 1)
    const { environ } = { environ: readFileSync(`/proc/${programOf(broker)}/environ`, 'utf8') }
    t.notMatch(environ, 'NOTIFY_SOCKET')
  },
)

/** Messages on disk, as a program that was stopped leaves them. */
async function fill(folder: string, count: number): Promise<void> {
  await using store = await Store.open({ folder })
  const queue = store.queue('session/somebody', {
    entriesMax: count,
    bytesMax: 1e9,
    ageMsMax: Number.POSITIVE_INFINITY,
    whenFull: 'reject',
  })
  const bodies = Array.from({ length: count }, (_, n) => Buffer.alloc(1000, n))
  await Promise.all(bodies.map((body) => store.accept({ header: Buffer.from('h'), body }, [queue])))
}
