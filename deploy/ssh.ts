import { existsSync, readFileSync } from 'node:fs'
import { Agent, type ClientRequestArgs } from 'node:http'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import ssh2, {
  type AgentAuthMethod,
  type ClientChannel,
  type ParsedKey,
  type PublicKeyAuthMethod,
  type ServerHostKeyAlgorithm,
} from 'ssh2'
import { connectionFault } from '../lib/connection-faults.ts'
import { failure } from '../lib/errors.ts'
import { fingerprint, judgeHostKey, knownTypes, parseKnownHosts, typeOf } from './known-hosts.ts'
import { CONNECT_MS_MAX, OUTPUT_BYTES_MAX, SSH_CHANNELS_MAX, SSH_KEEPALIVE_MS } from './limits.ts'
import type { Machine, Outcome } from './machine.ts'

/**
 * One SSH connection to the engine's machine, over which everything goes: requests to the engine, each through
 * `docker system dial-stdio` as Docker's own command line does, and the few commands that look at the machine.
 * (docker-modem would log in anew for each request, and take any host's key.)
 */

export interface SshAddress {
  readonly user: string
  readonly host: string
  readonly port: number
}

export interface SshOptions {
  /** A private key; where absent, the agent's and those in ~/.ssh. */
  readonly identity?: string
  /** Where absent, OpenSSH's own. */
  readonly knownHosts?: string
  /** SSH_AUTH_SOCK. */
  readonly agent?: string
}

const KNOWN_HOSTS = () => [join(homedir(), '.ssh', 'known_hosts'), '/etc/ssh/ssh_known_hosts']
const IDENTITIES = () => ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => join(homedir(), '.ssh', name))

/** RSA keys sign with SHA-2 (RFC 8332); SHA-1 is not taken. */
const SIGNATURES: Readonly<Record<string, readonly ServerHostKeyAlgorithm[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
}

export class SshConnection implements Machine, Disposable {
  readonly description: string
  /** For requests over HTTP to the engine. */
  readonly agent: Agent
  /** What `docker system dial-stdio` said last when it failed; without it a request just ends. */
  complaint = ''
  readonly #client: ssh2.Client

  private constructor(client: ssh2.Client, description: string) {
    this.#client = client
    this.description = description
    this.agent = new DialStdio(client, (text) => {
      this.complaint = text
    })
  }

  /** Errors: ENGINE_UNREACHABLE, ENGINE_DENIED, HOST_KEY_UNKNOWN, CONFIG_NOT_FOUND */
  static async open(address: SshAddress, options: SshOptions): Promise<SshConnection> {
    const { user, host, port } = address
    const where = `${user}@${host}${port === 22 ? '' : ` port ${port}`}`
    const files = options.knownHosts === undefined ? KNOWN_HOSTS() : [options.knownHosts]
    const known = files.flatMap((file) => parseKnownHosts(readIfThere(file)))
    const types = knownTypes(known, address).flatMap((type) => SIGNATURES[type] ?? [])
    const login = logins(user, options)
    const client = new ssh2.Client()
    let refusal: Error | undefined
    await new Promise<void>((resolve, reject) => {
      client.once('ready', resolve)
      client.on('error', (error: Error & { level?: string }) => {
        // Of one key, or of the agent: the next one is tried.
        if (error.level === 'agent') return
        reject(refusal ?? sshFailure(error, where, host, login))
      })
      client.once('close', () =>
        reject(sshFailure(new Error('it closed the connection'), where, host, login)),
      )
      client.connect({
        host,
        port,
        username: user,
        readyTimeout: CONNECT_MS_MAX,
        keepaliveInterval: SSH_KEEPALIVE_MS,
        algorithms: {
          serverHostKey: types.length > 0 ? types : Object.values(SIGNATURES).flat(),
        },
        hostVerifier: (key: Buffer) => {
          refusal = refuseKey(key)
          return refusal === undefined
        },
        authHandler: [...login.methods],
      })
    }).catch((error: unknown) => {
      client.end()
      throw error
    })
    client.on('error', () => {}) // whoever waits for an answer then hears of it
    return new SshConnection(client, where)

    function refuseKey(key: Buffer): Error | undefined {
      const verdict = judgeHostKey(known, address, key)
      if (verdict === 'known') return undefined
      const shown = `${typeOf(key)} ${fingerprint(key)}`
      const scan = `ssh${port === 22 ? '' : ` -p ${port}`} ${user}@${host}`
      if (verdict === 'unknown')
        return failure(
          'HOST_KEY_UNKNOWN',
          `Unknown host key of ${where}: ${shown} is not in ${files.join(' or ')}. Log in once with "${scan}", and say yes if the fingerprint is the one that the machine itself shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub).`,
        )
      return failure(
        'HOST_KEY_UNKNOWN',
        verdict === 'revoked'
          ? `${where} presents a key that is marked as revoked in ${files.join(' or ')}: ${shown}. Nothing was sent to it.`
          : `The host key of ${where} has changed: ${shown} is not the one in ${files.join(' or ')}. Either the machine was set up again (then remove the old key: ssh-keygen -R ${port === 22 ? host : `"[${host}]:${port}"`}), or someone intercepts the connection. Nothing was sent to it.`,
      )
    }
  }

  run(command: readonly string[]): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#client.exec(command.map(quoted).join(' '), (error, channel) => {
        if (error) return reject(error)
        const stdout: Buffer[] = []
        const stderr: Buffer[] = []
        let bytes = 0
        const keep = (list: Buffer[]) => (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes <= OUTPUT_BYTES_MAX) list.push(chunk)
        }
        channel.on('data', keep(stdout))
        channel.stderr.on('data', keep(stderr))
        let status: number | null = null
        channel.on('exit', (code: number | null) => {
          status = code
        })
        channel.on('error', reject)
        channel.on('close', () =>
          resolve({
            status,
            stdout: Buffer.concat(stdout).toString(),
            stderr: Buffer.concat(stderr).toString(),
          }),
        )
      })
    })
  }

  [Symbol.dispose](): void {
    this.agent.destroy()
    this.#client.end()
  }
}

/** For a POSIX shell. */
const quoted = (word: string) => (/^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)

/** HTTP over channels of one SSH connection. */
class DialStdio extends Agent {
  readonly #client: ssh2.Client
  readonly #complain: (text: string) => void

  constructor(client: ssh2.Client, complain: (text: string) => void) {
    super({ keepAlive: true, maxSockets: SSH_CHANNELS_MAX, maxFreeSockets: 2, scheduling: 'lifo' })
    this.#client = client
    this.#complain = complain
  }

  override createConnection(
    _options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    const done = callback as (error: Error | null, stream?: Duplex) => void
    try {
      this.#client.exec('docker system dial-stdio', (error, channel) => {
        if (error) return done(error)
        let text = ''
        channel.stderr.on('data', (chunk: Buffer) => {
          text = `${text}${chunk}`.slice(-1000)
          this.#complain(text.trim())
        })
        done(null, asSocket(channel))
      })
    } catch (error) {
      done(error as Error) // "Not connected"
    }
    return undefined
  }
}

/** What node:http also asks of a socket that it keeps for the next request. */
function asSocket(channel: ClientChannel): Duplex {
  const nothing = () => channel
  return Object.assign(channel, {
    setKeepAlive: nothing,
    setNoDelay: nothing,
    setTimeout: nothing,
    ref: nothing,
    unref: nothing,
    destroySoon: () => channel.destroy(),
  })
}

interface Logins {
  readonly methods: readonly (AgentAuthMethod | PublicKeyAuthMethod)[]
  /** What was tried, in words. */
  readonly tried: readonly string[]
  /** Keys that take a passphrase. */
  readonly locked: readonly string[]
}

/** Errors: CONFIG_NOT_FOUND, CONFIG_INVALID for an identity that was asked for and is none; ENGINE_DENIED without any */
function logins(username: string, { identity, agent }: SshOptions): Logins {
  const methods: (AgentAuthMethod | PublicKeyAuthMethod)[] = []
  const tried: string[] = []
  const locked: string[] = []
  if (identity === undefined && agent !== undefined && existsSync(agent)) {
    methods.push({ type: 'agent', username, agent })
    tried.push('the keys of the SSH agent')
  }
  const files = identity === undefined ? IDENTITIES().filter((file) => existsSync(file)) : [identity]
  for (const file of files) {
    let text: Buffer
    try {
      text = readFileSync(file)
    } catch (error) {
      if (identity === undefined) continue
      throw failure('CONFIG_NOT_FOUND', `The key ${file} (--identity) cannot be read.`, error)
    }
    const parsed = ssh2.utils.parseKey(text) as ParsedKey | ParsedKey[] | Error
    const key = Array.isArray(parsed) ? parsed[0] : parsed
    if (key && !(key instanceof Error) && key.isPrivateKey()) {
      methods.push({ type: 'publickey', username, key: text })
      tried.push(file)
    } else if (key instanceof Error && /encrypted|passphrase/i.test(key.message)) locked.push(file)
    else if (identity !== undefined)
      throw failure('CONFIG_INVALID', `${file} (--identity) contains no readable private key.`, key)
  }
  if (methods.length === 0)
    throw failure(
      'ENGINE_DENIED',
      locked.length > 0
        ? `The key ${locked[0]} is locked with a passphrase, and no SSH agent has it. Add it to the agent first: ssh-add ${locked[0]}`
        : 'No SSH key found: no agent (SSH_AUTH_SOCK), none in ~/.ssh. Create one (ssh-keygen -t ed25519), install it on the machine (ssh-copy-id), or name one with --identity.',
    )
  return { methods, tried, locked }
}

function sshFailure(
  error: Error & { level?: string },
  where: string,
  host: string,
  { tried, locked }: Logins,
): Error {
  if (error.level === 'client-authentication')
    return failure(
      'ENGINE_DENIED',
      `Permission denied by ${where} with ${tried.join(', ')}${locked.length > 0 ? ` (${locked.join(', ')} is locked: ssh-add it first)` : ''}. Install your key there with: ssh-copy-id`,
      error,
    )
  const why =
    connectionFault(error) ?? (error.level === 'client-timeout' ? 'connection timed out' : error.message)
  return failure(
    'ENGINE_UNREACHABLE',
    `Cannot connect to ${where} over SSH: ${why}. Is "${host}" its name or address, is it on and on this network, and is an SSH server running there, on that port?`,
    error,
  )
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // then no host is known
  }
}
