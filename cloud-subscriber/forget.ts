import type { Bucket } from '../lib/buckets/bucket.ts'
import { cameras } from '../lib/buckets/cameras.ts'
import { keysWithId } from '../lib/buckets/find.ts'
import type { Handler } from '../lib/control.ts'
import { failure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { forgetEntries } from '../store/forget.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { readClip } from '../wire/clip.ts'
import {
  type Forgotten,
  forgetRequestSchema,
  type Selection,
  selects,
  selectsMessage,
  spanOf,
} from '../wire/forget.ts'
import { mintedAtMs } from '../wire/id.ts'
import { KINDS } from '../wire/kinds.ts'
import { dayOf, parseObjectKey } from '../wire/object-key.ts'
import type { Announcements } from './announcements.ts'
import { decodeEntry, type InboxHeader, type QuarantineHeader } from './entry.ts'
import { type IndexEntry, IndexWriter, readIndex, readWriters } from './gallery/index-files.ts'
import { type Lanes, laneOf } from './lanes.ts'
import { chunksTouching } from './recordings/chunks-touching.ts'
import type { KeepMarks } from './recordings/keep-marks.ts'
import type { Storer } from './store.ts'

/**
 * `sightline forget` at the subscriber: inboxes, quarantine, bucket, marks of what is kept, and gallery index. The ids stay among the recent
 * ones, so that a copy that comes later is not stored again. What the bucket may have had is announced as removed, behind
 * what was announced of it before (announce.ts says how). Each step finds again what an interrupted run has left.
 */

export interface ForgetOptions {
  readonly store: Store
  readonly lanes: Lanes
  readonly quarantine: Queue
  readonly bucket: Bucket
  /** What of recordings is kept: forgotten all the same. */
  readonly keep: Pick<KeepMarks, 'forget' | 'inTurn'>
  /** Whose index it is. */
  readonly writer: string
  /** Those of a program that runs. */
  readonly storers?: Readonly<Record<keyof Lanes, Pick<Storer, 'settled'>>>
  /** Hears of the clips that are removed. */
  readonly removed?: (keys: readonly string[]) => void
  readonly index?: IndexWriter
  /** Says what is removed; absent where nobody is told. */
  readonly announcements?: Pick<Announcements, 'removed'>
  readonly log: Log
}

/** Objects removed, and ids remembered, in one go. */
const BATCH = 1000
const HOUR_MS = 3_600_000

export function subscriberForget(options: ForgetOptions): Handler {
  const { store, lanes, bucket } = options
  const remember = (keys: readonly string[]) => {
    for (const lane of [lanes.crops, lanes.clips])
      lane.recent.add(
        keys.flatMap((key) => {
          const object = parseObjectKey(key)
          return object && laneOf(lanes, object.kind) === lane ? object.id : []
        }),
      )
  }
  return async function* (args, signal) {
    const request = forgetRequestSchema.safeParse(args)
    if (!request.success) throw failure('USAGE', 'Missing: what to forget.', request.error)
    const { selection, dryRun } = request.data
    yield forgotten('inbox', await fromInbox(options, 'crops', selection, dryRun, signal))
    yield* some('inbox of clips', await fromInbox(options, 'clips', selection, dryRun, signal))
    yield forgotten('quarantine', await fromQuarantine(options, selection, dryRun, signal))
    // Of one crop it is soon known where it lies, and then which days of the indexes are to be read.
    const keys =
      selection.kind === 'id'
        ? await Array.fromAsync(keysOf(bucket, selection, signal))
        : keysOf(bucket, selection, signal)
    const days = daysOf(selection, Array.isArray(keys) ? keys : [])
    const listed = await fromIndex(options, selection, days, dryRun)
    if (listed !== undefined) yield forgotten(`gallery index of ${options.writer}`, listed)
    let count = 0
    for await (const batch of batched(keys)) {
      signal.throwIfAborted()
      count += batch.length
      if (dryRun) continue
      remember(batch)
      await options.announcements?.removed(batch, 'forgotten')
      await store.committed()
      await bucket.remove(batch, signal)
      options.removed?.(batch)
    }
    if (count > 0 && !dryRun) await bucket.sync()
    yield forgotten(bucket.description, count)
    // Behind the clips: what is in the middle of being forgotten is still marked.
    yield* some('marks of what is kept', await options.keep.forget(selection, dryRun, signal))
    yield* ofOthers(options, selection, days, signal)
  }
}

const forgotten = (place: string, count: number): Forgotten => ({ place, count })

/** A place that most subscribers have nothing in. */
const some = (place: string, count: number): Forgotten[] => (count > 0 ? [{ place, count }] : [])

async function fromInbox(
  { lanes, store, storers, announcements }: ForgetOptions,
  lane: keyof Lanes,
  selection: Selection,
  dryRun: boolean,
  signal: AbortSignal,
): Promise<number> {
  const { inbox, recent } = lanes[lane]
  const sequences = new Set<number>()
  const keys: string[] = []
  const count = await forgetEntries(
    inbox,
    (message, sequence) => {
      const { header, payload } = decodeEntry<InboxHeader>(message)
      const days = [dayOf(header.filedAtMs), dayOf(header.capturedAtMs)]
      const span = selection.kind === 'stretch' ? filedSpanOf(payload, header.filedAtMs) : undefined
      if (!selects(selection, { ...header, days, span })) return false
      sequences.add(sequence)
      keys.push(header.key)
      if (!dryRun) recent.add([header.id])
      return true
    },
    dryRun,
    signal,
  )
  if (dryRun) return count
  await announcements?.removed(keys, 'forgotten')
  await store.committed()
  // What was on its way to the bucket is there then, or in quarantine, and found there.
  await storers?.[lane].settled(sequences)
  return count
}

function fromQuarantine(
  { quarantine }: ForgetOptions,
  selection: Selection,
  dryRun: boolean,
  signal: AbortSignal,
): Promise<number> {
  return forgetEntries(
    quarantine,
    (message) => {
      const { header, payload } = decodeEntry<QuarantineHeader>(message)
      return selectsMessage(selection, header.topic, payload, header.receivedAtMs)
    },
    dryRun,
    signal,
  )
}

/** @returns how many entries; undefined where this subscriber has never written an index */
async function fromIndex(
  { bucket, writer, index, log }: ForgetOptions,
  selection: Selection,
  days: readonly string[] | undefined,
  dryRun: boolean,
): Promise<number | undefined> {
  if (!index && !(await readWriters(bucket, log)).includes(writer)) return undefined
  const matches = matching(selection)
  if (dryRun) return countListed(bucket, writer, log, matches, days)
  // Nobody else writes under this name: the program is stopped, or keeps no gallery any more.
  await using opened = index ? undefined : await IndexWriter.open({ bucket, writer, log })
  const writing = index ?? opened
  const count = await writing?.remove(matches, days)
  if (selection.kind === 'device') await writing?.unlist(`${selection.site}/${selection.device}`)
  return count
}

/** Other subscribers' indexes are theirs to write. */
async function* ofOthers(
  { bucket, writer, log }: ForgetOptions,
  selection: Selection,
  days: readonly string[] | undefined,
  signal: AbortSignal,
): AsyncGenerator<Forgotten> {
  for (const other of await readWriters(bucket, log)) {
    signal.throwIfAborted()
    if (other === writer) continue
    const count = await countListed(bucket, other, log, matching(selection), days)
    if (count > 0) yield { place: `gallery index of ${other}`, count, left: true }
  }
}

async function countListed(
  bucket: Bucket,
  writer: string,
  log: Log,
  matches: (entry: IndexEntry) => boolean,
  days: readonly string[] | undefined,
): Promise<number> {
  let count = 0
  for await (const entry of readIndex(bucket, writer, log, days)) if (matches(entry)) count += 1
  return count
}

const matching = (selection: Selection) => (entry: IndexEntry) =>
  selects(selection, { ...entry, days: [dayOf(entry.filedAtMs)] })

/** A chunk's, on the timeline: where its device's clock was wrong, from when it came. */
function filedSpanOf(payload: Buffer, filedAtMs: number) {
  const reading = readClip(payload)
  if ('fault' in reading) return undefined
  const span = spanOf(reading.clip)
  return span && { fromMs: filedAtMs, toMs: filedAtMs + span.toMs - span.fromMs }
}

/** The days whose index is to be read; undefined: all. */
function daysOf(selection: Selection, keys: readonly string[]): string[] | undefined {
  if (selection.kind === 'day') return [selection.day]
  if (selection.kind === 'stretch') return [] // it lists no recordings
  if (selection.kind !== 'id') return undefined
  if (keys.length > 0) return keys.flatMap((key) => parseObjectKey(key)?.day ?? [])
  const mintedMs = mintedAtMs(selection.id)
  return [mintedMs - HOUR_MS, mintedMs].map(dayOf)
}

/** The keys of the crops and clips that are in the bucket. */
async function* keysOf(bucket: Bucket, selection: Selection, signal: AbortSignal): AsyncGenerator<string> {
  const under = async function* (prefix: string): AsyncGenerator<string> {
    for await (const { key } of bucket.list(prefix, signal)) {
      const kept = parseObjectKey(key)
      if (kept && selects(selection, { ...kept, days: [kept.day] })) yield key
    }
  }
  if (selection.kind === 'stretch') {
    for await (const chunk of chunksTouching(bucket, selection, signal)) yield chunk
    return
  }
  if (selection.kind === 'id') {
    for await (const key of keysWithId(bucket, selection.id, signal)) if (parseObjectKey(key)) yield key
    return
  }
  for (const kind of KINDS) {
    if (selection.kind === 'device') yield* under(`${kind.root}${selection.site}/${selection.device}/`)
    else if (selection.kind === 'camera')
      yield* under(`${kind.root}${selection.site}/${selection.device}/${selection.camera}/`)
    else
      for await (const camera of cameras(bucket, signal, kind))
        yield* under(`${camera}${selection.day.replaceAll('-', '/')}/`)
  }
}

async function* batched(keys: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string[]> {
  let batch: string[] = []
  for await (const key of keys) {
    if (batch.push(key) < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
