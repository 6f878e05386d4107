import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { freePort } from '../kit/ports.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { Deployment, TAG, WELL_MS_MAX } from './deployment.ts'
import { docker } from './engine.ts'

/** Another engine than this machine's own, with nothing on it: one that a test may restart; and one behind OpenSSH. */

const SSHD = '/usr/sbin/sshd'
const isRoot = process.getuid?.() === 0

/** dockerd, in a network of its own so that it disturbs no other, with its data in a folder. */
class PrivateEngine {
  readonly socket: string
  readonly #folder: string
  #child: ChildProcess | undefined

  private constructor(folder: string) {
    this.#folder = folder
    this.socket = join(folder, 'docker.sock')
  }

  static async open(t: Test): Promise<PrivateEngine> {
    const engine = new PrivateEngine(temporaryFolder(t))
    t.after(async () => {
      await engine.stop('SIGTERM')
      engine.unmount()
    })
    await engine.start()
    return engine
  }

  get host(): string {
    return `unix://${this.socket}`
  }

  async start(): Promise<void> {
    const at = (name: string) => join(this.#folder, name)
    const flags = `--data-root=${at('data')} --exec-root=${at('run')} --pidfile=${at('pid')} --host=${this.host}`
    // The first time it gets its network, which then stays: containers that outlive it are in there.
    const script = `ip link set lo up; exec dockerd ${flags}`
    const log = openSync(at('log'), 'a')
    const inside = existsSync(at('network'))
      ? ['nsenter', `--net=${at('network')}`, 'sh', '-c', script]
      : ['unshare', `--net=${at('network')}`, 'sh', '-c', script]
    if (inside[0] === 'unshare') writeFileSync(at('network'), '')
    const [program = '', ...args] = inside
    this.#child = spawn(program, args, { stdio: ['ignore', log, log] })
    const answers = () => spawnSync('docker', ['-H', this.host, 'version']).status === 0
    await until('the engine answers', answers, 60_000).catch((error: Error) => {
      throw new Error(`${error.message}\n${readFileSync(at('log'), 'utf8').slice(-3000)}`)
    })
  }

  /** Its process alone, which `exec` has put in the place of the shell. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const closed = new Promise((done) => child.once('close', done))
    child.kill(signal)
    await closed
    if (signal !== 'SIGKILL') return
    // What it leaves behind when it is killed would be in the way of the next one; the containers go on.
    const left = join(this.#folder, 'run', 'containerd', 'containerd.pid')
    if (existsSync(left)) process.kill(Number(readFileSync(left, 'utf8')), 'SIGTERM')
    await sleep(1000)
  }

  /** For good. An engine that follows one that was killed leaves the mount of its data, which it did not make. */
  unmount(): void {
    for (const name of ['network', 'data']) spawnSync('umount', ['--recursive', join(this.#folder, name)])
  }
}

t.test(
  'images brought along in a file; an engine that restarts, or dies, brings everything back',
  { skip: !isRoot && 'starting an engine takes root' },
  async (t) => {
    const engine = await PrivateEngine.open(t)
    const file = join(temporaryFolder(t), 'images.tar')
    const images = ['broker', 'subscriber', 'console', 'device'].map((name) => `sightline-${name}:under-test`)
    await docker('save', '--output', file, ...images)
    const it = new Deployment(t, 'own', { host: engine.host })
    const args = [
      '--images',
      file,
      '--gallery-port',
      String(await freePort()),
      '--console-port',
      String(await freePort()),
    ]
    const up = await it.deploy('demo', ...args)
    t.match(up, { status: 0, stderr: '', stdout: /loading .*images\.tar[\s\S]*100 %/ })
    await it.untilStored(10)
    t.match(await it.deploy('demo', ...args), {
      status: 0,
      stdout: /the images of .* exist[\s\S]*nothing to do/,
    })
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const { accepted } = await it.queue('edge-broker', 'bridge/cloud')
      await engine.stop(signal)
      t.match(await it.deploy('status'), { status: 69, stderr: /No Docker engine answers/ })
      await engine.start()
      await it.untilWell()
      await it.untilStored(10)
      t.ok((await it.queue('edge-broker', 'bridge/cloud')).accepted > accepted, 'the books go on')
      t.match(await it.deploy('demo', ...args), { status: 0, stdout: /nothing to do/ })
    }
  },
)

/** OpenSSH's server on loopback, with keys of the test's own. */
async function sshd(t: Test): Promise<{ host: string; args: string[] }> {
  const folder = temporaryFolder(t)
  const port = await freePort()
  const key = (name: string) => {
    const file = join(folder, name)
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file])
    return file
  }
  const [hostKey, identity] = [key('host'), key('identity')]
  writeFileSync(join(folder, 'authorized_keys'), readFileSync(`${identity}.pub`), { mode: 0o600 })
  const known = join(folder, 'known_hosts')
  writeFileSync(known, `[127.0.0.1]:${port} ${readFileSync(`${hostKey}.pub`, 'utf8')}`)
  const settings = {
    Port: port,
    ListenAddress: '127.0.0.1',
    HostKey: hostKey,
    AuthorizedKeysFile: join(folder, 'authorized_keys'),
    PidFile: 'none',
    StrictModes: 'no',
    PasswordAuthentication: 'no',
    KbdInteractiveAuthentication: 'no',
    PermitRootLogin: 'prohibit-password',
    UsePAM: 'no',
  }
  const config = join(folder, 'sshd_config')
  writeFileSync(
    config,
    Object.entries(settings)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(''),
  )
  mkdirSync('/run/sshd', { recursive: true })
  const log = join(folder, 'log')
  const child = spawn(SSHD, ['-D', '-f', config, '-E', log], { stdio: 'ignore' })
  t.after(() => void child.kill())
  await until('sshd listens', () => /Server listening/.test(existsSync(log) ? readFileSync(log, 'utf8') : ''))
  return {
    host: `ssh://${process.env.USER ?? 'root'}@127.0.0.1:${port}`,
    args: ['--identity', identity, '--known-hosts', known],
  }
}

t.test(
  'over SSH: a demo comes up, its log is followed, and it goes again',
  {
    skip: existsSync(SSHD)
      ? !isRoot && 'an SSH server for others takes root'
      : `there is no ${SSHD} (Debian: openssh-server)`,
  },
  async (t) => {
    const { host, args } = await sshd(t)
    const it = new Deployment(t, 'ssh', { host, args, dockerHost: 'unix:///var/run/docker.sock' })
    const how = [
      '--tag',
      TAG,
      '--gallery-port',
      String(await freePort()),
      '--console-port',
      String(await freePort()),
    ]
    const up = await it.deploy('demo', ...how)
    t.match(up, { status: 0, stderr: '', stdout: /gallery +https:\/\/127\.0\.0\.1:/ })
    await it.untilStored(10)
    t.match(await it.deploy('demo', ...how), { status: 0, stdout: /nothing to do/ })
    t.match(await it.deploy('status'), { status: 0, stdout: /device .* healthy/ })
    t.match(await it.deploy('logs', 'device', '--tail', '3'), { status: 0, stdout: /"msg"/ })
    await until(
      'a crash is repaired',
      async () => {
        if ((await it.inspect<number>('device', '.RestartCount')) > 0) return true
        await it.crash('device').catch(() => {})
        return false
      },
      WELL_MS_MAX,
    )
    await it.untilWell()
    const elsewhere = temporaryFolder(t)
    writeFileSync(join(elsewhere, 'known_hosts'), '')
    t.match(await it.deploy('status', '--known-hosts', join(elsewhere, 'known_hosts')), {
      status: 77,
      stderr: /^HOST_KEY_UNKNOWN/,
    })
    t.match(await it.deploy('down', '--purge', '--purge'), { status: 0 })
    t.strictSame(await it.everything(), [])
  },
)
