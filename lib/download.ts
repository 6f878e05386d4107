import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { connectionFault } from './connection-faults.ts'
import { failure, SightlineError, systemCode } from './errors.ts'

/**
 * Downloads a file whose checksum is known: from several sources in turn, going on where an earlier try was cut off
 * (`<file>.part`, HTTP Range), and never under its own name before it is whole, right and on the disk.
 */
export interface Download {
  /** For people: what is fetched. */
  readonly name: string
  /** Tried in this order. All must give the same bytes, so that one can go on where another was cut off. */
  readonly sources: readonly string[]
  readonly file: string
  readonly sha256: string
  /** Its size, where it is known. */
  readonly bytes: number | undefined
  /** No more is taken, whatever the server sends. */
  readonly bytesMax: number
  /** Called now and then: bytes so far, and of how many (undefined: the server does not say). */
  readonly onProgress?: (done: number, total: number | undefined) => void
  /** Who asks: the runtime's own, which goes wherever it is sent, where absent. */
  readonly fetch?: Fetch
}

export type Fetch = (
  address: string,
  asked: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
) => Promise<Response>

/** No answer, or nothing more of it, for so long: the next source's turn. */
const STALL_MS_MAX = 20_000

/** Errors: DOWNLOAD_FAILED, which says what each source answered; CHECKSUM_WRONG, FOLDER_UNWRITABLE, DISK_FULL. */
export async function download(wanted: Download, signal: AbortSignal): Promise<void> {
  const faults: string[] = []
  let unreachable = true
  let wrong = 0
  for (const source of wanted.sources) {
    const host = new URL(source).host
    try {
      await downloadFrom(source, wanted, signal)
      return
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof SourceFault)) throw error
      faults.push(`${host}: ${error.message}`)
      unreachable &&= error.kind === 'unreachable'
      if (error.kind === 'checksum') wrong += 1
    }
  }
  const told = faults.join('; ')
  if (wrong > 0 && wrong === faults.length)
    throw failure(
      'CHECKSUM_WRONG',
      `Checksum mismatch: the sources of ${wanted.name} send another file than the one whose SHA-256 is given (${told}). Nothing was kept.`,
    )
  throw failure(
    'DOWNLOAD_FAILED',
    unreachable
      ? `Cannot download ${wanted.name}: there is no network, or its sources are unreachable (${told}).`
      : `Cannot download ${wanted.name} from any of its sources (${told}).`,
  )
}

/** What is wrong with one source; the next may do better. */
class SourceFault extends Error {
  readonly kind: 'unreachable' | 'answer' | 'checksum'

  constructor(kind: SourceFault['kind'], message: string, cause?: unknown) {
    super(message, { cause })
    this.kind = kind
  }
}

async function downloadFrom(source: string, wanted: Download, signal: AbortSignal): Promise<void> {
  const part = `${wanted.file}.part`
  const resumed = await fetchInto(source, wanted, part, signal)
  let found = await sha256OfFile(part)
  if (found !== wanted.sha256 && resumed) {
    // What was there before may have been something else: once more, from the start.
    await unlink(part)
    await fetchInto(source, wanted, part, signal)
    found = await sha256OfFile(part)
  }
  if (found !== wanted.sha256) {
    await unlink(part)
    throw new SourceFault('checksum', `sha256 ${found} instead of ${wanted.sha256}`)
  }
  await rename(part, wanted.file)
}

/** Fetches the rest of the file into `part`. @returns whether there was something to go on from */
async function fetchInto(
  source: string,
  wanted: Download,
  part: string,
  signal: AbortSignal,
): Promise<boolean> {
  const stalled = new AbortController()
  let timer = setTimeout(() => {}, 0)
  const alive = () => {
    clearTimeout(timer)
    timer = setTimeout(() => stalled.abort(), STALL_MS_MAX)
  }
  let has = await sizeOf(part)
  if (wanted.bytes !== undefined && has > wanted.bytes) {
    await unlink(part)
    has = 0
  }
  if (has > 0 && has === wanted.bytes) return true
  try {
    alive()
    const answer = await (wanted.fetch ?? fetch)(source, {
      // Compressed on the way, a range would be one of something else.
      headers: { 'accept-encoding': 'identity', ...(has > 0 && { range: `bytes=${has}-` }) },
      signal: AbortSignal.any([signal, stalled.signal]),
    }).catch((error: unknown) => {
      if (error instanceof SightlineError) throw new SourceFault('answer', error.message, error)
      throw new SourceFault('unreachable', reasonOf(error, stalled.signal), error)
    })
    // The range begins where the file ends: it was whole, or it was something else. The checksum tells.
    if (answer.status === 416 && has > 0) {
      await answer.body?.cancel()
      return true
    }
    const from = answer.status === 206 ? rangeStart(answer.headers.get('content-range')) : 0
    if (!answer.ok || !answer.body || (from !== 0 && from !== has)) {
      await answer.body?.cancel()
      throw new SourceFault('answer', `HTTP ${answer.status} ${answer.statusText}`.trim())
    }
    const length = Number(answer.headers.get('content-length') ?? Number.NaN)
    const total = wanted.bytes ?? (Number.isFinite(length) ? from + length : undefined)
    await write(answer.body, part, from, wanted, total, alive, stalled.signal)
    return from > 0
  } finally {
    clearTimeout(timer)
  }
}

/** "bytes 100-199/200"; Number.NaN where it is something else. */
const rangeStart = (header: string | null) => Number(/^bytes (\d+)-/.exec(header ?? '')?.[1] ?? Number.NaN)

async function write(
  body: ReadableStream<Uint8Array>,
  part: string,
  from: number,
  { bytes, bytesMax, onProgress }: Download,
  total: number | undefined,
  alive: () => void,
  stalled: AbortSignal,
): Promise<void> {
  const handle = await openPart(part, from > 0)
  let at = from
  try {
    onProgress?.(at, total)
    const reader = body.getReader()
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw new SourceFault('unreachable', `${reasonOf(error, stalled)} after ${at} bytes`, error)
      })
      if (done) break
      alive()
      if (at + value.length > Math.min(bytes ?? bytesMax, bytesMax)) {
        await reader.cancel()
        throw new SourceFault('answer', `more than ${Math.min(bytes ?? bytesMax, bytesMax)} bytes`)
      }
      await handle.write(value).catch((error: unknown) => {
        throw unwritable(part, error)
      })
      at += value.length
      onProgress?.(at, total)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
  if (bytes !== undefined && at < bytes)
    throw new SourceFault('answer', `ended after ${at} of ${bytes} bytes`)
}

async function openPart(part: string, append: boolean) {
  try {
    await mkdir(dirname(part), { recursive: true })
    return await open(part, append ? 'a' : 'w')
  } catch (error) {
    throw unwritable(part, error)
  }
}

function unwritable(file: string, error: unknown): SightlineError {
  if (systemCode(error) === 'ENOSPC')
    return failure('DISK_FULL', `The disk of ${dirname(file)} is full. Free some space and try again.`, error)
  return failure(
    'FOLDER_UNWRITABLE',
    `${file} cannot be written. Give this user the right to write to ${dirname(file)}.`,
    error,
  )
}

/** fetch says "fetch failed" and hides what happened in the cause. */
function reasonOf(error: unknown, stalled: AbortSignal): string {
  if (stalled.aborted) return `no data for ${STALL_MS_MAX / 1000} s`
  const cause = error instanceof Error ? error.cause : undefined
  const said = connectionFault(cause) ?? connectionFault(error)
  return (
    said ?? (cause instanceof Error ? cause.message : error instanceof Error ? error.message : String(error))
  )
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch {
    return 0 // there is none yet
  }
}

/** The SHA-256 of a file's bytes, in hexadecimal digits. */
export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
