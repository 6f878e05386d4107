import { userInfo } from 'node:os'
import Dockerode from 'dockerode'
import { failure, SightlineError, systemCode } from '../lib/errors.ts'
import { CONNECT_MS_MAX } from './limits.ts'
import { type Machine, thisMachine } from './machine.ts'
import { SshConnection, type SshOptions } from './ssh.ts'

/** Where an engine is: `--host`. */
export type EngineAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'ssh'; readonly user: string; readonly host: string; readonly port: number }

/** Errors: USAGE */
export function parseEngineAddress(text: string): EngineAddress {
  if (text.startsWith('unix://') && text.length > 'unix://'.length)
    return { kind: 'unix', path: text.slice('unix://'.length) }
  if (text.startsWith('ssh://') && URL.canParse(text)) {
    const { username, password, hostname, port, pathname } = new URL(text)
    if (password !== '')
      throw failure(
        'USAGE',
        'Do not put a password in --host. Log in with a key: ssh-copy-id installs it there.',
      )
    if (hostname !== '' && (pathname === '' || pathname === '/'))
      return {
        kind: 'ssh',
        user: username === '' ? userInfo().username : decodeURIComponent(username),
        host: hostname.replace(/^\[|\]$/g, ''),
        port: port === '' ? 22 : Number(port),
      }
  }
  throw failure(
    'USAGE',
    `Invalid Docker engine address "${text}". Write --host unix:///var/run/docker.sock, or --host ssh://user@jetson.`,
  )
}

/** A Docker engine that answers, and the machine it runs on. */
export class Engine implements Disposable {
  readonly docker: Dockerode
  readonly machine: Machine
  readonly address: EngineAddress
  readonly #ssh: SshConnection | undefined

  private constructor(address: EngineAddress, docker: Dockerode, ssh: SshConnection | undefined) {
    this.address = address
    this.docker = docker
    this.machine = ssh ?? thisMachine
    this.#ssh = ssh
  }

  /** Errors: ENGINE_UNREACHABLE, ENGINE_DENIED, HOST_KEY_UNKNOWN, and those of a key that is none */
  static async open(address: EngineAddress, options: SshOptions): Promise<Engine> {
    // Each key is set, since docker-modem takes from DOCKER_HOST what is not.
    const plain = {
      protocol: 'http',
      host: undefined,
      port: undefined,
      ca: undefined,
      cert: undefined,
      key: undefined,
    } as const
    if (address.kind === 'unix') {
      const docker = new Dockerode({ ...plain, socketPath: address.path })
      const engine = new Engine(address, docker, undefined)
      await engine.#greet()
      return engine
    }
    using opened = new DisposableStack()
    const ssh = opened.use(await SshConnection.open(address, options))
    const over = { ...plain, host: 'http://docker', port: 80, agent: ssh.agent }
    const engine = new Engine(address, new Dockerode(over), ssh)
    await engine.#greet()
    opened.move()
    return engine
  }

  /** Of the machine, as others reach it. */
  get hostName(): string | undefined {
    return this.address.kind === 'ssh' ? this.address.host : undefined
  }

  async #greet(): Promise<void> {
    const silence = new Promise<never>((_resolve, reject) => {
      setTimeout(
        () =>
          reject(
            failure(
              'ENGINE_UNREACHABLE',
              `The Docker engine at ${this.#where} does not answer. Check it with: docker info`,
            ),
          ),
        CONNECT_MS_MAX,
      ).unref()
    })
    await Promise.race([this.do('connecting', () => this.docker.ping()), silence])
  }

  get #where(): string {
    return this.address.kind === 'unix' ? this.address.path : this.machine.description
  }

  /**
   * What the engine is asked for; what it refuses is said with its own words and ours.
   * @param doing such as "starting sightline-edge-device"
   * Errors: ENGINE_UNREACHABLE, ENGINE_DENIED, ENGINE_REFUSED, ENGINE_UNSUITABLE, DISK_FULL, PORT_TAKEN
   */
  async do<T>(doing: string, request: () => Promise<T>): Promise<T> {
    try {
      return await request()
    } catch (error) {
      throw this.failure(doing, error)
    }
  }

  failure(doing: string, error: unknown): SightlineError {
    if (error instanceof SightlineError) return error
    const { statusCode, json } = error as { statusCode?: number; json?: { message?: string } }
    if (statusCode === undefined) return this.#connectionFailure(doing, error)
    const said = (json?.message ?? (error as Error).message).trim()
    return sayRefusal(doing, said, error)
  }

  #connectionFailure(doing: string, error: unknown): SightlineError {
    const code = systemCode(error)
    const complaint = this.#ssh?.complaint ?? ''
    const denied = `The user ${this.address.kind === 'ssh' ? this.address.user : userInfo().username} may not use the Docker engine at ${this.#where}. Add that user to the group "docker" (sudo usermod -aG docker USER), and log in again.`
    if (code === 'EACCES' || /permission denied/i.test(complaint))
      return failure('ENGINE_DENIED', denied, error)
    if (/not found|no such file.*docker\b/i.test(complaint) && !/docker\.sock/.test(complaint))
      return failure(
        'ENGINE_UNREACHABLE',
        `Docker not found on ${this.#where} (${complaint}). Install it, e.g. sudo apt-get install docker.io.`,
        error,
      )
    if (
      code === 'ENOENT' ||
      code === 'ECONNREFUSED' ||
      code === 'ENOTSOCK' ||
      /cannot connect/i.test(complaint)
    )
      return failure(
        'ENGINE_UNREACHABLE',
        `No Docker engine answers at ${this.#where}. Start it (sudo systemctl start docker), install it, or give its address: --host`,
        error,
      )
    const why = complaint !== '' ? complaint : error instanceof Error ? error.message : String(error)
    return failure(
      'ENGINE_UNREACHABLE',
      `The Docker engine at ${this.#where} disconnected while ${doing} (${why}). Run the same command again once it is back; what exists is kept.`,
      error,
    )
  }

  [Symbol.dispose](): void {
    this.#ssh?.[Symbol.dispose]()
  }
}

/** What an engine said no to, as an error of ours: also for what comes in a stream (builds, pulls, loads). */
export function sayRefusal(doing: string, said: string, cause?: unknown): SightlineError {
  if (/no space left on device|disk quota/i.test(said))
    return failure(
      'DISK_FULL',
      `The engine's disk is full (while ${doing}). Free some space (docker system df shows what uses it), and run the same again.`,
      cause,
    )
  const port = /(?:port is already allocated|address already in use)/i.test(said)
    ? /(\d{1,3}(?:\.\d{1,3}){3}):(\d+)/.exec(said)
    : null
  if (port)
    return failure(
      'PORT_TAKEN',
      `Port ${port[2]} is in use on the engine's machine (while ${doing}). Stop what uses it, or choose another: --mqtt-port, --gallery-port.`,
      cause,
    )
  if (/could not select device driver|unknown or invalid runtime|nvidia/i.test(said))
    return failure(
      'ENGINE_UNSUITABLE',
      `The engine cannot give a container the GPU (while ${doing}: ${oneLine(said)}). Install the NVIDIA Container Toolkit there (sudo nvidia-ctk runtime configure --runtime=docker; sudo systemctl restart docker), or leave --gpu out.`,
      cause,
    )
  return failure('ENGINE_REFUSED', `The Docker engine refused while ${doing}: ${oneLine(said)}`, cause)
}

export const oneLine = (text: string) => text.trim().replace(/\s*\n\s*/g, ' / ')

/** The HTTP status of what the engine refused. */
export const statusOf = (error: unknown) => (error as { statusCode?: number } | undefined)?.statusCode

/** Undefined where there is no such thing. */
export async function orNone<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (error) {
    if (statusOf(error) === 404) return undefined
    throw error
  }
}
