import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { unlinkSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { join, relative, resolve } from 'node:path'
import { asFailure, failure, failureOf, systemCode } from './errors.ts'
import type { Log } from './log.ts'

/**
 * How the command line acts on the store of a program that runs: the store belongs to one process at a time, so that
 * process does it. It listens on a Unix socket in its store's folder (on Windows: a named pipe that is named after the
 * folder). One request a connection, JSON, a line each:
 *
 *     ->  {"command":"quarantine","args":{...}}
 *     <-  {"item":...}  as many as there are; {"alive":true} now and then meanwhile
 *     <-  {"done":true}, or {"fault":{"code":"...","message":"..."}}
 *
 * There is no password: the permissions of the socket (0600) and of the folder are the access control. Who may write
 * the store's files may give commands, and nobody else. On Windows Node.js gives a pipe the system's default rights:
 * everybody may read it, and only its user, administrators and the system may write a command.
 */

export type Handler = (args: unknown, signal: AbortSignal) => AsyncIterable<unknown>
export type Handlers = Readonly<Record<string, Handler>>

export interface ControlOptions {
  readonly folder: string
  /** One after the other. */
  readonly handlers: Handlers
  /** Its state, for whoever may give commands: at once, whatever else is under way. */
  readonly health: () => unknown
  readonly log: Log
}

export const CONTROL_FILE = 'control.sock'
export const HEALTH_COMMAND = 'health'
/** What `sun_path` takes without its final zero. A longer one would be cut, or refused. */
const PATH_BYTES_MAX = process.platform === 'linux' ? 107 : 103
const CONNECTIONS_MAX = 8
const REQUEST_BYTES_MAX = 64 * 1024
const REQUEST_MS_MAX = 5_000
/** Forgetting a camera of years may take its time in a large bucket. */
const COMMAND_MS_MAX = 3_600_000
/** A caller that does not read its answer does not keep others waiting. */
const WRITE_MS_MAX = 10_000
const ALIVE_INTERVAL_MS = 2_000
const SILENCE_MS_MAX = 20_000
const ANSWER_LINE_BYTES_MAX = 1024 * 1024

export class ControlServer implements AsyncDisposable {
  readonly #options: ControlOptions
  readonly #server: Server
  readonly #abort = new AbortController()
  readonly #sockets = new Set<Socket>()
  readonly #serving = new Set<Promise<void>>()
  /** One command at a time: two that retry the same message would send it twice. */
  #turn: Promise<void> = Promise.resolve()

  private constructor(options: ControlOptions) {
    this.#options = options
    this.#server = createServer((socket) => {
      const serving = this.#serve(socket).finally(() => this.#serving.delete(serving))
      this.#serving.add(serving)
    })
    this.#server.maxConnections = CONNECTIONS_MAX
  }

  /**
   * Listens, where the store's lock is held: what lies under the socket's name was left by a program that is gone.
   * Where it cannot, it says so in the log: the program does its work all the same.
   */
  static async open(options: ControlOptions): Promise<ControlServer> {
    const { folder, log } = options
    const control = new ControlServer(options)
    const path = controlPath(folder)
    if (isTooLong(path)) {
      log.warn(
        { path, bytesMax: PATH_BYTES_MAX },
        'the path of the control socket is too long: "sightline quarantine" and "sightline forget" ' +
          'cannot act on this store while the program runs. Stop it first, or move the folder to a shorter path',
      )
      return control
    }
    try {
      await control.#listen(path)
    } catch (error) {
      log.warn(
        { path, error: asFailure(error).message },
        'cannot listen on the control socket: "sightline quarantine" and "sightline forget" cannot act on this store ' +
          'while the program runs. Stop it first, or put the folder on a file system that supports sockets',
      )
    }
    return control
  }

  async #listen(path: string): Promise<void> {
    if (process.platform === 'win32') {
      this.#server.listen(path)
    } else {
      try {
        unlinkSync(path)
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error
      }
      // listen() binds before it returns: there is no moment at which others may connect.
      const mask = process.umask(0o177)
      try {
        this.#server.listen(path)
      } finally {
        process.umask(mask)
      }
    }
    await once(this.#server, 'listening')
    this.#server.on('error', (error) =>
      this.#options.log.warn({ error: error.message }, 'control socket: could not accept a connection'),
    )
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket)
    const stop = new AbortController()
    const signal = AbortSignal.any([stop.signal, this.#abort.signal])
    const gone = () => stop.abort(failure('PROGRAM_GONE', 'The caller has gone.'))
    // A write to one that has hung up (EPIPE) is told before the end of the connection is.
    socket.on('error', gone)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      gone()
    })
    const deadline = setTimeout(
      () => stop.abort(failure('PROGRAM_GONE', `It took longer than ${COMMAND_MS_MAX} ms. Try again.`)),
      COMMAND_MS_MAX,
    ).unref()
    let alive: NodeJS.Timeout | undefined
    try {
      const { command, args } = parseRequest(await readLine(socket, signal))
      const { handlers, health } = this.#options
      if (command === HEALTH_COMMAND) {
        await write(socket, { item: health() }, signal)
        await write(socket, { done: true }, signal)
        return
      }
      const handler = Object.hasOwn(handlers, command) ? handlers[command] : undefined
      if (!handler)
        throw failure('USAGE', `Unknown command "${command}" to the program that uses this store.`)
      alive = setInterval(() => socket.write('{"alive":true}\n'), ALIVE_INTERVAL_MS)
      await this.inTurn(async () => {
        signal.throwIfAborted()
        for await (const item of handler(args, signal)) {
          await write(socket, { item }, signal)
          signal.throwIfAborted()
        }
      })
      await write(socket, { done: true }, signal)
    } catch (error) {
      const { code, message } = asFailure(signal.aborted ? signal.reason : error)
      if (code === 'UNEXPECTED')
        this.#options.log.error({ error: message }, 'a control socket command failed')
      else if (stop.signal.aborted) this.#options.log.debug({ code, error: message }, 'control socket')
      socket.write(`${JSON.stringify({ fault: { code, message } })}\n`)
    } finally {
      clearTimeout(deadline)
      clearInterval(alive)
      socket.end()
      socket.setTimeout(WRITE_MS_MAX, () => socket.destroy())
    }
  }

  /** Between the commands: what acts on the same store, and did not come over the socket. */
  inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  /** Ends what is under way, and waits for it: it uses what is closed next. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(failure('PROGRAM_GONE', 'The program is stopping and did not finish this. Try again.'))
    this.#server.close()
    await Promise.all(this.#serving)
    for (const socket of this.#sockets) socket.destroySoon()
  }
}

/**
 * Asks the program that holds the store in a folder.
 * @returns its answer, item by item; undefined where no program listens there.
 *   Errors: NOT_ALLOWED (another user's program), USAGE (too large a request), PROGRAM_GONE, and those of the command
 */
export async function callProgram(
  folder: string,
  command: string,
  args: unknown,
): Promise<AsyncIterable<unknown> | undefined> {
  const request = `${JSON.stringify({ command, args })}\n`
  if (Buffer.byteLength(request) > REQUEST_BYTES_MAX)
    throw failure('USAGE', 'Too many for one command. Name fewer, or use --all.')
  const path = [controlPath(folder), relative(process.cwd(), controlPath(resolve(folder)))].find(
    (path) => !isTooLong(path),
  )
  if (path === undefined) return undefined
  const socket = createConnection(path)
  try {
    await once(socket, 'connect')
  } catch (error) {
    socket.destroy()
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK') return undefined
    throw failure(
      'NOT_ALLOWED',
      `The program that uses ${folder} denies commands from this user (${code}). Run this as the user that it runs as.`,
      error,
    )
  }
  socket.write(request)
  return answer(socket, folder)
}

async function* answer(socket: Socket, folder: string): AsyncGenerator<unknown> {
  socket.setTimeout(SILENCE_MS_MAX, () => socket.destroy())
  try {
    for await (const line of linesOf(socket)) {
      const said = JSON.parse(line) as Record<string, unknown>
      if ('item' in said) yield said.item
      else if ('done' in said) return
      else if ('fault' in said) {
        const { code, message } = said.fault as { code: string; message: string }
        throw failureOf(code, message)
      }
    }
  } finally {
    socket.destroy()
  }
  throw failure(
    'PROGRAM_GONE',
    `The program that uses ${folder} ended or stopped responding before it finished. What it did is kept; try again.`,
  )
}

/** Lines until the connection ends, however it ends. */
async function* linesOf(socket: Socket): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0)
  const chunks = socket[Symbol.asyncIterator]()
  for (;;) {
    const next = await chunks.next().catch(() => undefined)
    if (!next || next.done) return
    rest = Buffer.concat([rest, next.value as Buffer])
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      const line = rest.toString('utf8', 0, end)
      rest = rest.subarray(end + 1)
      yield line
    }
    if (rest.length > ANSWER_LINE_BYTES_MAX) return
  }
}

/** The first line that the other end writes. What follows is not looked at. */
function readLine(socket: Socket, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const chunks: Buffer[] = []
  let length = 0
  const timer = setTimeout(
    () => reject(failure('USAGE', `No request received within ${REQUEST_MS_MAX} ms.`)),
    REQUEST_MS_MAX,
  )
  socket.on('data', (chunk) => {
    if (length > REQUEST_BYTES_MAX) return
    chunks.push(chunk)
    length += chunk.length
    const end = chunk.indexOf('\n')
    if (end >= 0) resolve(Buffer.concat(chunks).toString('utf8', 0, length - chunk.length + end))
    else if (length > REQUEST_BYTES_MAX)
      reject(failure('USAGE', `A request must not exceed ${REQUEST_BYTES_MAX} bytes.`))
  })
  signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  return promise.finally(() => clearTimeout(timer))
}

function parseRequest(line: string): { command: string; args: unknown } {
  try {
    const { command, args } = JSON.parse(line) as { command: unknown; args: unknown }
    if (typeof command === 'string') return { command, args }
  } catch {
    // said below
  }
  throw failure('USAGE', 'A request must be a line of JSON: {"command": ..., "args": ...}.')
}

async function write(socket: Socket, line: unknown, signal: AbortSignal): Promise<void> {
  if (socket.write(`${JSON.stringify(line)}\n`)) return
  await once(socket, 'drain', { signal: AbortSignal.any([signal, AbortSignal.timeout(WRITE_MS_MAX)]) })
}

function controlPath(folder: string): string {
  if (process.platform !== 'win32') return join(folder, CONTROL_FILE)
  const name = createHash('sha256').update(resolve(folder).toLowerCase()).digest('hex')
  return `\\\\.\\pipe\\sightline-${name}`
}

const isTooLong = (path: string) => process.platform !== 'win32' && Buffer.byteLength(path) > PATH_BYTES_MAX
