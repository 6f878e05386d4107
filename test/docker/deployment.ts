import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { command, type Ended } from './engine.ts'

/** `sightline deploy` on a real engine, as a user runs it, and what can be seen of it with Docker's own command line. */

const LAUNCHER = resolve(import.meta.dirname, '..', '..', 'bin', 'sightline.js')
const run = promisify(execFile)
export const WELL_MS_MAX = 120_000
/** As `npm run test:docker` has built them. */
export const TAG = 'sightline-{program}:under-test'

export interface Target {
  /** For `deploy`. */
  readonly host: string
  /** For Docker's command line, where that is another. */
  readonly dockerHost?: string
  readonly args?: readonly string[]
}

export const LOCAL: Target = { host: 'unix:///var/run/docker.sock' }

export class Deployment {
  readonly name: string
  readonly target: Target
  readonly folder: string

  /** Whatever is left of it goes at the end of the test, volumes included. */
  constructor(t: Test, name: string, target: Target = LOCAL) {
    this.name = `test-${process.pid}-${name}`
    this.target = target
    this.folder = temporaryFolder(t)
    t.after(async () => {
      const label = `label=org.sightline.deployment=${this.name}`
      const containers = await this.lines('ps', '--all', '--quiet', `--filter=${label}`)
      if (containers.length > 0) await this.docker('rm', '--force', '--volumes', ...containers)
      for (const kind of ['network', 'volume']) {
        const left = await this.lines(kind, 'ls', '--quiet', `--filter=${label}`)
        if (left.length > 0) await this.docker(kind, 'rm', ...left)
      }
    })
  }

  /** `sightline deploy VERB`, on this deployment. */
  deploy(verb: string, ...args: string[]): Promise<Ended> {
    return command(process.execPath, [LAUNCHER, ...this.words(verb, args)])
  }

  words(verb: string, args: readonly string[]): string[] {
    const [where, more] = [['--host', this.target.host, '--name', this.name], this.target.args ?? []]
    return ['deploy', verb, ...where, ...more, ...args]
  }

  async docker(...args: string[]): Promise<string> {
    const env = { ...process.env, DOCKER_HOST: this.target.dockerHost ?? this.target.host }
    const { stdout } = await run('docker', args, { env, maxBuffer: 64 * 1024 * 1024 })
    return stdout.trim()
  }

  async lines(...args: string[]): Promise<string[]> {
    return (await this.docker(...args)).split('\n').filter((line) => line !== '')
  }

  container = (part: string) => `sightline-${this.name}-${part}`

  async inspect<T>(part: string, format: string): Promise<T> {
    return JSON.parse(await this.docker('inspect', `--format={{json ${format}}}`, this.container(part))) as T
  }

  /** Of its containers, networks and volumes, and when each container was started: equal where nothing has changed. */
  async everything(): Promise<string[]> {
    const label = `--filter=label=org.sightline.deployment=${this.name}`
    const containers = await this.lines('ps', '--all', '--quiet', '--no-trunc', label)
    const started =
      containers.length === 0
        ? []
        : await this.lines('inspect', '--format={{.Name}} {{.Id}} {{.State.StartedAt}}', ...containers)
    const others = await Promise.all(
      ['network', 'volume'].map((kind) => this.lines(kind, 'ls', '--quiet', label)),
    )
    return [...started, ...others.flat()].sort()
  }

  /** Crops in the folder that is the bucket. */
  async stored(): Promise<number> {
    const find = 'find /var/lib/sightline-bucket -name "*.jpg" -not -path "*/.*" | wc -l'
    return Number(await this.docker('exec', this.container('subscriber'), 'sh', '-c', find))
  }

  async untilStored(more: number): Promise<void> {
    const before = await this.stored()
    await until(
      `${more} more faces are in the bucket`,
      async () => (await this.stored()) >= before + more,
      WELL_MS_MAX,
    )
  }

  /** Its books, out of /metrics: accepted and pending of a queue. */
  async queue(
    part: string,
    queue: string,
  ): Promise<{ accepted: number; pending: number; forwarded: number }> {
    const script =
      'fetch("http://127.0.0.1:9102/metrics").then(async (it) => process.stdout.write(await it.text()))'
    const text = await this.docker('exec', this.container(part), 'node', '-e', script)
    const read = (name: string) =>
      Number(
        new RegExp(`^sightline_queue_${name}\\{[^}]*queue="${queue}"[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1],
      )
    return { accepted: read('accepted_total'), pending: read('pending'), forwarded: read('forwarded_total') }
  }

  async untilWell(): Promise<void> {
    let last: Ended | undefined
    const isWell = async () => {
      last = await this.deploy('status')
      return last.status === 0
    }
    await until('all parts are well', isWell, WELL_MS_MAX).catch((error: Error) => {
      throw new Error(`${error.message}\n${last?.stdout}${last?.stderr}`)
    })
  }

  /** As a crash does: Docker's own "kill" counts as a wish, and it then starts nothing again. */
  async crash(part: string): Promise<void> {
    process.kill(await this.inspect<number>(part, '.State.Pid'), 'SIGKILL')
  }
}

/** Under which containers of one network reach ports that the engine's machine has published. */
export async function gateway(): Promise<string> {
  const { stdout } = await run('docker', [
    'network',
    'inspect',
    'bridge',
    '--format={{(index .IPAM.Config 0).Gateway}}',
  ])
  return stdout.trim() || '172.17.0.1'
}

/** An image made from another one, what an upgrade may bring; its name goes at the end of the test. */
export async function derive(t: Test, from: string, tag: string, instructions = ''): Promise<void> {
  const { status, stderr } = await command('docker', ['build', '--quiet', '--tag', tag, '-'], {
    input: `FROM ${from}\n${instructions}\n`,
    env: { DOCKER_BUILDKIT: '0' },
  })
  if (status !== 0) throw new Error(stderr)
  t.after(async () => void (await command('docker', ['image', 'rm', tag])))
}
