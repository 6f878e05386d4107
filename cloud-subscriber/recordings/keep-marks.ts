import { type Bucket, CACHE_REVALIDATE } from '../../lib/buckets/bucket.ts'
import { cameras, names } from '../../lib/buckets/cameras.ts'
import { asFailure, failure, type SightlineError } from '../../lib/errors.ts'
import type { Store } from '../../store/store.ts'
import type { Selection } from '../../wire/forget.ts'
import {
  KEEP_VERSION,
  type KeepMessage,
  keepKey,
  keptStretchesSchema,
  STRETCHES_MAX,
  type Stretch,
} from '../../wire/keep.ts'
import { CLIP } from '../../wire/kinds.ts'
import { STORED_VERSION } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Announcements } from '../announcements.ts'

/**
 * Which stretches of a camera's recordings are kept: a file beside them in the bucket (wire/keep.ts). Written when somebody
 * asks for it or forgets, and then announced, all of it. Who deletes reads it in turn with who writes it: what is said to be
 * kept is not deleted a moment later.
 */

export interface KeepMarksOptions {
  readonly bucket: Bucket
  readonly store: Store
  /** Says what is kept; absent where nobody is told. */
  readonly announcements?: Pick<Announcements, 'kept'>
}

/** Why a request could not be done. */
export interface Refusal {
  readonly code: string
  readonly message: string
}

/** What a camera's file said, and what it says now. */
export type Changed = (camera: CameraAddress, before: readonly Stretch[], after: readonly Stretch[]) => void

const TABLE = 'kept'
const DAY_MS = 24 * 3_600_000
/** An answer's message: wire/stored.ts */
const MESSAGE_CHARACTERS_MAX = 2000

export class KeepMarks {
  /** Set by who counts what is kept. */
  onChanged: Changed | undefined
  readonly #options: KeepMarksOptions
  #turn: Promise<unknown> = Promise.resolve()
  #announcedAtMs: number

  private constructor(options: KeepMarksOptions) {
    this.#options = options
    this.#announcedAtMs = Number(options.store.get(TABLE, 'announcedAtMs') ?? 0)
  }

  static open(options: KeepMarksOptions): KeepMarks {
    return new KeepMarks(options)
  }

  /** One after the other: who writes these files, and who deletes by them. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work, work)
    this.#turn = done.catch(() => {})
    return done
  }

  /** Errors: those of the bucket; KEEP_INVALID where the file cannot be read: then nothing is known, and nothing may go. */
  async read(camera: CameraAddress, signal?: AbortSignal): Promise<readonly Stretch[]> {
    const { bucket } = this.#options
    const key = keepKey(camera)
    const file = await bucket.read(key, signal)
    if (file === undefined) return []
    try {
      return keptStretchesSchema.parse(JSON.parse(Buffer.from(file).toString('utf8'))).stretches
    } catch (error) {
      throw failure(
        'KEEP_INVALID',
        `${key} in the ${bucket.description} cannot be read: nothing of this camera's recordings is deleted. Restore it, or delete it if nothing is to be kept.`,
        error,
      )
    }
  }

  /**
   * Keeps a stretch, or keeps it no longer, and announces what then holds; with the error where it could not be done and
   * trying again would not help. Errors, worth another try: those of the bucket, of the announcements
   */
  async apply({
    request,
    keep,
    site,
    device,
    camera,
    ...stretch
  }: KeepMessage): Promise<SightlineError | undefined> {
    return this.inTurn(async () => {
      const address = { site, device, camera }
      let before: readonly Stretch[] = []
      try {
        before = await this.read(address)
        const { fromMs, toMs, by, atMs } = stretch
        const after = keep ? withStretch(before, { fromMs, toMs, by, atMs }) : without(before, fromMs, toMs)
        if (after.length > STRETCHES_MAX)
          throw failure(
            'TOO_MANY',
            `A camera has at most ${STRETCHES_MAX} stretches that are kept. Keep fewer, longer ones.`,
          )
        await this.#write(address, before, after)
        await this.#say(address, after, request)
        return undefined
      } catch (error) {
        const fault = asFailure(error)
        if (fault.code !== 'TOO_MANY' && fault.code !== 'KEEP_INVALID') throw error
        await this.#say(address, before, request, fault)
        return fault
      }
    })
  }

  /** Says once more what holds, to whoever asks again. Errors: as above */
  async repeat({ request, site, device, camera }: KeepMessage, fault?: Refusal) {
    await this.inTurn(async () => {
      const address = { site, device, camera }
      const stretches = await this.read(address).catch((error: unknown) => {
        if (asFailure(error).code === 'KEEP_INVALID') return []
        throw error
      })
      await this.#say(address, stretches, request, fault)
    })
  }

  /** Of a device or camera all marks go; of a day or a stretch what lies in it. @returns how many. Errors: those of the bucket */
  async forget(selection: Selection, dryRun: boolean, signal: AbortSignal): Promise<number> {
    let count = 0
    for await (const camera of this.#camerasOf(selection, signal))
      count += await this.inTurn(() => this.#forgetOf(camera, selection, dryRun, signal))
    return count
  }

  async #forgetOf(
    camera: CameraAddress,
    selection: Selection,
    dryRun: boolean,
    signal: AbortSignal,
  ): Promise<number> {
    const { bucket } = this.#options
    let before: readonly Stretch[] | undefined
    try {
      before = await this.read(camera, signal)
    } catch (error) {
      if (asFailure(error).code !== 'KEEP_INVALID' || spanOf(selection)) throw error
    }
    // One that cannot be read is a file all the same.
    if (before?.length === 0) return 0
    const { fromMs, toMs } = spanOf(selection) ?? { fromMs: 0, toMs: Number.POSITIVE_INFINITY }
    const touched = before?.filter((it) => it.fromMs < toMs && it.toMs > fromMs).length ?? 1
    if (dryRun || touched === 0) return touched
    const after = before ? without(before, fromMs, toMs) : []
    if (after.length === 0) {
      await bucket.remove([keepKey(camera)], signal)
      await bucket.sync()
      this.onChanged?.(camera, before ?? [], after)
    } else await this.#write(camera, before ?? [], after)
    await this.#say(camera, after)
    return touched
  }

  async *#camerasOf(selection: Selection, signal: AbortSignal): AsyncGenerator<CameraAddress> {
    const { bucket } = this.#options
    switch (selection.kind) {
      case 'id':
        return
      case 'stretch':
      case 'camera': {
        const { site, device, camera } = selection
        yield { site, device, camera }
        return
      }
      case 'device': {
        const { site, device } = selection
        for await (const camera of names(bucket, `${CLIP.root}${site}/${device}/`, signal))
          yield { site, device, camera }
        return
      }
      case 'day':
        for await (const prefix of cameras(bucket, signal, CLIP)) yield cameraOfPrefix(prefix)
    }
  }

  async #write(camera: CameraAddress, before: readonly Stretch[], after: readonly Stretch[]): Promise<void> {
    const { bucket } = this.#options
    await bucket.replace({
      key: keepKey(camera),
      body: Buffer.from(JSON.stringify({ v: KEEP_VERSION, stretches: after })),
      contentType: 'application/json',
      cacheControl: CACHE_REVALIDATE,
    })
    await bucket.sync()
    this.onChanged?.(camera, before, after)
  }

  /** Of two announcements the later one holds: also where the clock was set back between them. */
  async #say(
    { site, device, camera }: CameraAddress,
    stretches: readonly Stretch[],
    request?: string,
    fault?: Refusal,
  ): Promise<void> {
    const { store, announcements } = this.#options
    if (!announcements) return
    this.#announcedAtMs = Math.max(Date.now(), this.#announcedAtMs + 1)
    void store.put(TABLE, 'announcedAtMs', Buffer.from(String(this.#announcedAtMs)))
    const error = fault && { code: fault.code, message: fault.message.slice(0, MESSAGE_CHARACTERS_MAX) }
    await announcements.kept({
      v: STORED_VERSION,
      is: 'kept',
      site,
      device,
      camera,
      atMs: this.#announcedAtMs,
      stretches: [...stretches],
      ...(request !== undefined && { request }),
      ...(error && { error }),
    })
  }
}

/** Of `recordings.private/<site>/<device>/<camera>/`. */
export function cameraOfPrefix(prefix: string): CameraAddress {
  const [site = '', device = '', camera = ''] = prefix.slice(CLIP.root.length).split('/')
  return { site, device, camera }
}

/** What a selection has of a camera's time; undefined: all of it. */
function spanOf(selection: Selection): Pick<Stretch, 'fromMs' | 'toMs'> | undefined {
  if (selection.kind === 'stretch') return selection
  if (selection.kind !== 'day') return undefined
  const fromMs = Date.parse(selection.day)
  return { fromMs, toMs: fromMs + DAY_MS }
}

/** What lies within another stretch adds nothing. */
function withStretch(stretches: readonly Stretch[], added: Stretch): readonly Stretch[] {
  const covers = (a: Stretch, b: Stretch) => a.fromMs <= b.fromMs && a.toMs >= b.toMs
  if (stretches.some((it) => covers(it, added))) return stretches
  return [...stretches.filter((it) => !covers(added, it)), added]
}

/** Cut out: of a stretch around it two are left. */
function without(stretches: readonly Stretch[], fromMs: number, toMs: number): readonly Stretch[] {
  return stretches.flatMap((it) => [
    ...(it.fromMs < fromMs ? [{ ...it, toMs: Math.min(it.toMs, fromMs) }] : []),
    ...(it.toMs > toMs ? [{ ...it, fromMs: Math.max(it.fromMs, toMs) }] : []),
  ])
}
