import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { open as openLmdb } from 'lmdb'
import { failure } from '../lib/errors.ts'
import { type Contents, isTableEntry, nameOf, placeOf, ROOT, readContents, readPair, TREES } from './check.ts'
import { bytesFree, RESERVE_BYTES } from './disk-room.ts'
import {
  decodeReference,
  encodeReference,
  isBody,
  isReference,
  numberBytes,
  numberKey,
  openRecord,
  openValue,
  pendingOf,
  type QueueRecord,
  type Reference,
  readNumber,
  STORE_VERSION,
  sealRecord,
  sealValue,
} from './format.ts'
import {
  BIG,
  type Fault,
  FREE,
  FREE_TREE,
  keyAt,
  keyOf,
  keySize,
  LEAF,
  LmdbFile,
  nodeFlags,
  OVERFLOW,
  PAGE_HEADER_BYTES,
  type Run,
  read64,
  readTree,
  runAt,
  type Snapshot,
  SUBTREE,
  sortedBy,
  type Tree,
  USED,
  valueAt,
  valueBytes,
} from './lmdb-file.ts'

/**
 * Before LMDB opens a store's file it is looked at (store-check.ts). Where it is damaged, a new one is filled with
 * everything that can be read, and only when that is on disk does it take the place of the damaged one, which is moved
 * aside whole. A kill on the way leaves things so that the next start begins anew, or ends what was begun.
 *
 * What the trees do not reach any more is looked for in the whole file, page by page: LMDB never writes a page that is
 * in use, so that of everything that changed lately older states are still there. What is found has a checksum. An
 * entry that was released long ago is not taken for a lost one: its body is gone from the tree of bodies, and the books
 * say how many are missing.
 */

export interface Salvage {
  /** Where the damaged file is now. */
  readonly movedTo: string
  /** When it was found to be damaged, ms since 1970. */
  readonly atMs: number
  /** What was wrong with it: the first ones, in words, and how many there were. */
  readonly faults: readonly string[]
  readonly faultCount: number
  /** Entries of all queues that are in the new file, and those that are not and were counted as dropped. */
  readonly entriesRead: number
  /** More of them, from old pages: each is one of those that count as lost, or one that was handed on before. */
  readonly entriesOld: number
  readonly entriesLost: number
  /** Queues whose books could not be read: they begin with what was found. */
  readonly booksLost: readonly string[]
  /** The list of queues could not be read whole: there may have been more of them, with entries that nobody counts. */
  readonly isListLost?: boolean
}

/** A store's file that may be opened. */
export interface Prepared extends Disposable {
  readonly salvage: Salvage | undefined
  /** Whether LMDB may free the pages of a body: false where they are damaged. */
  mayFree(sequence: number): boolean
}

/** @returns what was found and done, in sentences for people */
export function describeSalvage({
  movedTo,
  faults,
  faultCount,
  entriesRead,
  entriesOld,
  entriesLost,
  booksLost,
  isListLost,
}: Salvage): string {
  const more = faultCount > 1 ? ` and ${faultCount - 1} more faults` : ''
  const atLeast = isListLost ? 'at least ' : ''
  const lost =
    entriesLost === 0
      ? isListLost
        ? 'and how many are lost cannot be told, because the list of queues is damaged too'
        : 'none is known to be lost'
      : `${atLeast}${entriesLost} could not be read and are counted as dropped, "unreadable"`
  const old =
    entriesOld === 0
      ? ''
      : ` ${entriesOld} more were found in old pages: they may be some of those, or duplicates.`
  const books =
    booksLost.length === 0
      ? ''
      : ` The books of ${booksLost.map((name) => JSON.stringify(name)).join(', ')} could not be read and start again.`
  return `The store was damaged (${faults[0] ?? 'unknown'}${more}). ${entriesRead} entries were read from it, ${lost}.${old}${books} The damaged file is ${movedTo}: keep it if it may be needed, delete it to clear this message, and check the disk.`
}

/** Looks at a store's file and puts it in order where it is damaged. Errors: DISK_FULL; what is no store at all. */
export async function prepareStore(path: string): Promise<Prepared> {
  const fresh = freshPath(path)
  if (!existsSync(path) && existsSync(fresh))
    putInPlace(path, fresh) // it was complete, and the damaged one moved aside
  else rmSync(fresh, { force: true })
  rmSync(`${fresh}-lock`, { force: true })
  if (!existsSync(path) || statSync(path).size === 0) return nothingBefore(undefined)
  const file = LmdbFile.open(path)
  if (!file) throw new Error('not a store: nothing in the file looks like one')
  try {
    const contents = readNewest(file)
    if (contents.version > STORE_VERSION)
      throw failure(
        'STORE_NEWER',
        `${dirname(path)} was written by a newer Sightline. Install that version again, or name another folder.`,
      )
    if (contents.findings.faultCount === 0) {
      // Pages that were freed before they were ever written may lie beyond the end, where LMDB does not expect it.
      const bytes = (contents.snapshot.lastPage + 1) * file.pageBytes
      if (statSync(path).size < bytes) truncateSync(path, bytes)
      return { ...guard(file, contents), salvage: reportOf(contents, path) }
    }
    const salvage = await new Salvager(path, file, contents).run()
    file[Symbol.dispose]()
    return nothingBefore(salvage)
  } catch (error) {
    file[Symbol.dispose]()
    throw error
  }
}

const nothingBefore = (salvage: Salvage | undefined): Prepared => ({
  salvage,
  mayFree: () => true,
  [Symbol.dispose]: () => {},
})

function guard(file: LmdbFile, { bodies }: Contents) {
  return {
    mayFree(sequence: number) {
      const at = bodies.find(sequence)
      const run = at < 0 ? undefined : bodies.run(at)
      return run === undefined || file.isRun(run)
    },
    [Symbol.dispose]: () => file[Symbol.dispose](),
  }
}

/** The report of an earlier start, where the file that it speaks of has not been removed. */
function reportOf({ report }: Contents, path: string): Salvage | undefined {
  if (report === undefined) return undefined
  const salvage = JSON.parse(report) as Salvage
  return existsSync(salvage.movedTo) && dirname(salvage.movedTo) === dirname(path) ? salvage : undefined
}

const freshPath = (path: string) => `${path}.new`

function putInPlace(path: string, fresh: string): void {
  renameSync(fresh, path)
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
}

/** The newest state of which the main tree can be read; an empty one where there is none. */
export function readNewest(file: LmdbFile): Contents {
  const named = file.snapshots()
  const newest = named[0] && readContents(file, named[0])
  if (newest && named.length === 2 && isReadable(newest)) return newest
  // The newest one may be named by a page that is lost, and one that nothing names may never have been completed.
  const known = named[0]?.transaction ?? 0
  const { mains, last } = mainTrees(file)
  const unnamed = mains.filter(({ transaction }) => named.length < 2 && transaction > known)
  let rest: Contents | undefined
  for (const snapshot of [...unnamed.slice(0, UNNAMED_MAX), ...named]) {
    const contents = readContents(file, snapshot)
    const isNamed = named.includes(snapshot)
    const isSound = contents.findings.faultCount === 0
    if (!isSound && !isReadable(contents)) continue
    if (!isSound && !isNamed) {
      rest ??= contents
      continue
    }
    if (isNamed && (snapshot !== named[0] || last > snapshot.transaction)) {
      const isFreeKnown = snapshot !== named[0] && newest && !newest.findings.lost.has(FREE_TREE)
      contents.newer = { free: isFreeKnown ? newest.findings.pages : undefined }
    }
    contents.findings.note(ROOT, 0, 'a root page cannot be read')
    return contents
  }
  if (rest) return rest
  const nothing = { transaction: Number.MAX_SAFE_INTEGER, lastPage: file.pageCount - 1, free: undefined }
  const contents = readContents(file, { ...nothing, main: EMPTY_TREE })
  for (const tree of [ROOT, ...TREES]) contents.findings.add(tree, 0, 'not found')
  return contents
}

/** Those that were under way when the program ended are not many. */
const UNNAMED_MAX = 4
const EMPTY_TREE: Tree = {
  flags: 0,
  depth: 0,
  branchPages: 0,
  leafPages: 0,
  overflowPages: 0,
  entries: 0,
  root: undefined,
}

const isReadable = ({ trees, findings }: Contents) => trees.size > 0 || findings.faultCount === 0

/** Main trees of one page, which they all are, found without a meta page: newest first; and the last transaction seen. */
function mainTrees(file: LmdbFile): { mains: Snapshot[]; last: number } {
  const found: Snapshot[] = []
  let last = 0
  for (const { page, number } of file.pages(range(2, file.pageCount))) {
    if (!page || page.readUInt16LE(18) !== LEAF || read64(page, 0) !== number) continue
    last = Math.max(last, read64(page, 8))
    const nodes = [...file.possibleNodes(page)].filter(({ isListed }) => isListed).map(({ at }) => at)
    const trees = nodes.filter((at) => nodeFlags(page, at) === SUBTREE)
    if (trees.length < TREES.length - 1) continue // version 1 had no names
    const main: Tree = {
      flags: 0,
      depth: 1,
      branchPages: 0,
      leafPages: 1,
      overflowPages: 0,
      entries: page.readUInt16LE(20) >>> 1,
      root: number,
    }
    if (trees.every((at) => readTree(page, valueAt(page, at)) !== undefined))
      found.push({ transaction: read64(page, 8), lastPage: file.pageCount - 1, free: undefined, main })
  }
  return { mains: found.sort((a, b) => b.transaction - a.transaction), last }
}

function* range(from: number, to: number): Generator<number> {
  for (let number = from; number < to; number += 1) yield number
}

interface Candidate {
  readonly queue: number
  readonly sequence: number
  readonly place: number
  /** In a page of a newer state 3, in a damaged page of the tree 2, in one that nothing refers to 1, in one that is free 0. */
  readonly rank: number
  readonly transaction: number
}

const BATCH_BYTES_MAX = 8 * 1024 * 1024
const BATCH_MAX = 2000

class Salvager {
  readonly #path: string
  readonly #file: LmdbFile
  readonly #contents: Contents
  /** Found outside of the trees. */
  readonly #candidates: Candidate[] = []
  readonly #bodyPlaces = new Map<number, number[]>()
  readonly #runs: Run[] = []
  readonly #oldRecords = new Map<string, { record: QueueRecord; transaction: number; rank: number }>()
  /** Of queues, by id. */
  readonly #oldNames = new Map<number, string>()
  readonly #oldTables = new Map<string, { place: number; transaction: number; rank: number }>()
  readonly #isFreeKnown: boolean
  #sequence: number

  constructor(path: string, file: LmdbFile, contents: Contents) {
    this.#isFreeKnown = contents.snapshot.free !== undefined && !contents.findings.lost.has(FREE_TREE)
    this.#path = path
    this.#file = file
    this.#contents = contents
    this.#sequence = Math.max(contents.sequence, contents.bodies.sequences.at(-1) ?? 0)
  }

  async run(): Promise<Salvage> {
    const atMs = Date.now()
    const movedTo = this.#newName(atMs)
    const fresh = freshPath(this.#path)
    try {
      await this.#scan()
      const salvage = await this.#fill(fresh, movedTo, atMs)
      // LMDB's table of readers belongs to the file.
      rmSync(`${fresh}-lock`, { force: true })
      rmSync(`${this.#path}-lock`, { force: true })
      renameSync(this.#path, movedTo)
      putInPlace(this.#path, fresh)
      return salvage
    } catch (error) {
      if (existsSync(this.#path)) for (const path of [fresh, `${fresh}-lock`]) rmSync(path, { force: true })
      throw error
    }
  }

  #newName(atMs: number): string {
    const time = new Date(atMs).toISOString().replace(/[-:]|\.\d+/g, '')
    for (let n = 1; ; n += 1) {
      const name = `${this.#path}.damaged-${time}${n === 1 ? '' : `-${n}`}`
      if (!existsSync(name)) return name
    }
  }

  /** Every page that no tree has. */
  async #scan(): Promise<void> {
    const { findings } = this.#contents
    const { snapshot, newer } = this.#contents
    let looked = 0
    for (const { page, number } of this.#file.pages(range(2, this.#file.pageCount))) {
      if (findings.pages[number] === USED) continue
      looked += 1
      if (looked % 10_000 === 0) await breathe()
      if (!page) continue
      // It may be another page that was written to the wrong place.
      const self = read64(page, 0)
      const damaged = findings.damaged.has(number)
      if (damaged || page.readUInt16LE(18) === LEAF) {
        const isItself = damaged && self === number
        const transaction = isItself ? snapshot.transaction : read64(page, 8)
        const isNewer = newer !== undefined && transaction > snapshot.transaction
        const isFree = this.#isFreeKnown && findings.pages[self] === FREE
        const rank = isNewer ? 3 : isItself ? 2 : isFree ? 0 : 1
        for (const { at, isListed } of this.#file.possibleNodes(page))
          this.#lookAt(page, number, at, isListed ? rank : 0, transaction)
      } else if (page.readUInt16LE(18) === OVERFLOW && self === number)
        this.#runs.push({ first: number, pages: page.readUInt32LE(20), transaction: read64(page, 8) })
    }
  }

  #lookAt(page: Buffer, number: number, at: number, rank: number, transaction: number): void {
    const { findings, sealedFrom, version } = this.#contents
    const flags = nodeFlags(page, at)
    if (flags > BIG) return
    const key = keyOf(page, at)
    const place = placeOf(number, at)
    // What is in use according to the list of free pages has fallen out of a tree, whatever its keys.
    const isInUse = rank >= 2 || (rank === 1 && this.#isFreeKnown)
    const mayMiss = (tree: string) => isInUse || findings.mayMiss(tree, key)
    const pair = readPair(page, at)
    if (pair) {
      if (mayMiss('references') && isReference(this.#value(page, at), pair.sequence, sealedFrom))
        this.#candidates.push({ ...pair, place, rank, transaction })
      return
    }
    const sequence = readNumber(page, keyAt(at), keySize(page, at))
    if (sequence > 0 && numberBytes(sequence) === key.length) {
      // A queue's name has a number as key too, and a checksum.
      const name = valueBytes(page, at) < this.#file.pageBytes && openValue(this.#value(page, at))
      if (name) this.#oldNames.set(sequence, Buffer.from(name).toString())
      const places = this.#bodyPlaces.get(sequence)
      if (places) places.push(place)
      else this.#bodyPlaces.set(sequence, [place])
      return
    }
    const isNewer = (known: { transaction: number; rank: number } | undefined) =>
      !known || rank > known.rank || (rank === known.rank && transaction > known.transaction)
    if (key.indexOf(0) > 0) {
      const id = key.toString('latin1')
      if (
        mayMiss('tables') &&
        isNewer(this.#oldTables.get(id)) &&
        isTableEntry(this.#file, page, at, version)
      )
        this.#oldTables.set(id, { place, transaction, rank })
      return
    }
    const name = nameOf(page, at)
    if (name === undefined || flags === BIG) return
    const value = this.#value(page, at).toString('latin1')
    if (name === 'sequence' && /^\d{1,16}$/.test(value))
      this.#sequence = Math.max(this.#sequence, Number(value))
    if (!mayMiss('queues') || !isNewer(this.#oldRecords.get(name))) return
    const record = openRecord(name, this.#value(page, at).toString(), version !== 1)
    if (record) this.#oldRecords.set(name, { record, transaction, rank })
  }

  #value(page: Buffer, at: number): Buffer {
    return valueBytes(page, at) <= this.#file.pageBytes * 1024 ? this.#file.value(page, at) : Buffer.alloc(0)
  }

  async #fill(path: string, movedTo: string, atMs: number): Promise<Salvage> {
    const { findings } = this.#contents
    const target = new Target(path)
    try {
      const { records, booksLost } = this.#records()
      const counted = new Counts()
      await this.#copyEntries(target, records, counted)
      let entriesLost = 0
      for (const [name, record] of records) {
        const missing = pendingOf(record) - (counted.certain.get(record.id) ?? 0)
        if (booksLost.includes(name)) {
          // Books that are older than the entries say nothing of how many are missing.
          const lost = counted.lost.get(record.id) ?? 0
          record.accepted += lost - missing
          addLost(record, lost)
          entriesLost += lost
        } else if (missing >= 0) {
          addLost(record, missing)
          entriesLost += missing
        } else record.accepted -= missing
        // They take nobody's place: what is missing is said to be lost all the same.
        record.accepted += counted.old.get(record.id) ?? 0
      }
      if (records.size === 0 && this.#contents.trees.size === 0 && this.#file.snapshots().length === 0)
        throw new Error('not a store: nothing in the file belongs to one')
      const salvage: Salvage = {
        movedTo,
        atMs,
        faults: findings.faults.map(describeFault),
        faultCount: findings.faultCount,
        entriesRead: sum(counted.certain),
        entriesOld: sum(counted.old),
        entriesLost,
        booksLost,
        isListLost: this.#isListLost,
      }
      await this.#copyRest(target, records, salvage)
      return salvage
    } finally {
      await target.close()
    }
  }

  /** Two trees name every queue; version 1 has one. */
  get #isListLost(): boolean {
    const { findings, names } = this.#contents
    const { lost } = findings
    return lost.has(ROOT) || (lost.has('queues') && (lost.has('names') || names.size === 0))
  }

  /** Books of every queue that has some, or entries. */
  #records(): { records: Map<string, QueueRecord>; booksLost: string[] } {
    const { records: sound, references, newer } = this.#contents
    const renewed = new Set<string>()
    const records = new Map([...sound].map(([name, record]) => [name, copyOf(record)]))
    const booksLost: string[] = []
    const ids = new Map([...records].map(([name, { id }]) => [id, name]))
    const take = (name: string, record: QueueRecord) => {
      records.set(name, copyOf(record))
      ids.set(record.id, name)
      booksLost.push(name)
    }
    for (const [name, { record, rank }] of this.#oldRecords) {
      const known = records.get(name)
      if (!known && !ids.has(record.id)) take(name, record)
      else if (rank === 3 && known?.id === record.id) {
        records.set(name, copyOf(record))
        renewed.add(name)
      }
    }
    // Books of an older state say nothing of what came since then.
    if (newer) for (const name of sound.keys()) if (!newer.free || !renewed.has(name)) booksLost.push(name)
    const named = [...this.#contents.names.keys()]
    for (const id of new Set([...named, ...references.queues, ...this.#candidates.map(({ queue }) => queue)]))
      if (!ids.has(id)) take(this.#nameOf(id, records), { id, accepted: 0, forwarded: 0, dropped: {} })
    return { records, booksLost }
  }

  #nameOf(id: number, records: ReadonlyMap<string, unknown>): string {
    const known = this.#contents.names.get(id) ?? this.#oldNames.get(id)
    return known !== undefined && !records.has(known) ? known : `salvaged/${id}`
  }

  async #copyEntries(
    target: Target,
    records: ReadonlyMap<string, QueueRecord>,
    counts: Counts,
  ): Promise<void> {
    const { references, bodies, findings, newer } = this.#contents
    const pending = new Map([...records.values()].map((record) => [record.id, pendingOf(record)]))
    const room = new Map(pending)
    const unread = (queue: number) => (pending.get(queue) ?? 0) - counts.read(queue)
    const boundless = new Set<number>()
    for (const [name, { id }] of records) if (!this.#contents.records.has(name)) boundless.add(id)
    const order = sortedBy([...references.sequences.keys()], references.sequences)
    const missing: Entry[] = []
    const isSearched = newer !== undefined || this.#candidates.length > 0
    const referred = new Set<number>()
    const taken = new Set<string>()
    for (const n of order) {
      const queue = references.queues[n] as number
      const sequence = references.sequences[n] as number
      const place = references.places[n] as number
      if (newer?.free?.[Math.floor(place / 65_536)] === FREE) {
        // The newer state has another page in its place, without what was released.
        this.#candidates.push({ queue, sequence, place, rank: 0, transaction: 0 })
        continue
      }
      if (isSearched) referred.add(sequence)
      const entry = this.#entry(queue, sequence, place)
      if (isSearched) taken.add(`${entry.queue} ${entry.sequence}`)
      room.set(entry.queue, (room.get(entry.queue) ?? 0) - 1)
      this.#sequence = Math.max(this.#sequence, entry.sequence)
      const body = this.#body(entry)
      if (!body) {
        missing.push(entry)
        continue
      }
      counts.add(counts.certain, entry.queue)
      await target.add(entry, body)
    }
    // What fell out of the trees, the likeliest first, as many as the books say are missing.
    this.#candidates.sort(
      (a, b) => b.rank - a.rank || b.transaction - a.transaction || b.sequence - a.sequence,
    )
    for (const { queue, sequence, place, rank } of this.#candidates) {
      const id = `${queue} ${sequence}`
      const isBounded = !boundless.has(queue)
      const isCurrent = bodies.find(sequence) >= 0
      // One whose body is where it belongs, and nobody else's, goes before those that have none.
      const left = (isCurrent && !referred.has(sequence) ? unread(queue) : room.get(queue)) ?? 0
      const isInUse = rank >= 2 || (rank === 1 && this.#isFreeKnown)
      if (taken.has(id) || (!isInUse && isBounded && left <= 0)) continue
      // Where the body is gone from a tree that has all it should have, the entry was released.
      if (!isInUse && !isCurrent && !findings.mayMiss('bodies', numberKey(sequence))) continue
      if (rank === 0 && !isBounded && !isCurrent) continue
      // Of one that is in another queue still, an old page says nothing.
      if (rank === 0 && isCurrent && referred.has(sequence)) continue
      const entry = this.#entry(queue, sequence, place)
      const body = this.#body(entry)
      if (!body && rank === 0) continue
      taken.add(id)
      const isCertain = isInUse
      if (body || isCertain) room.set(queue, (room.get(queue) ?? 0) - 1)
      if (!body) {
        missing.push({ ...entry, isCertain })
        continue
      }
      this.#sequence = Math.max(this.#sequence, sequence)
      counts.add(isCertain ? counts.certain : counts.old, queue)
      await target.add(entry, body)
    }
    for (const { entry, body } of this.#fromLostRuns(missing)) {
      if (entry.isFound) continue
      const left = room.get(entry.queue) ?? 0
      if (!entry.isCertain && !boundless.has(entry.queue) && left <= 0) continue
      if (!entry.isCertain) room.set(entry.queue, left - 1)
      entry.isFound = true
      counts.add(entry.isCertain ? counts.certain : counts.old, entry.queue)
      await target.add(entry, body)
    }
    for (const { isFound, isCertain, queue } of missing)
      if (isCertain && !isFound) counts.add(counts.lost, queue)
    await target.flush()
  }

  #entry(queue: number, sequence: number, place: number): Entry {
    const page = this.#file.page(Math.floor(place / 65_536)) as Buffer
    return {
      queue,
      sequence,
      reference: decodeReference(this.#file.value(page, place % 65_536)),
      isFound: false,
      isCertain: true,
    }
  }

  /** The body of an entry, wherever there is one that is whole. */
  #body({ sequence, reference }: Entry): Buffer | undefined {
    const { bodies } = this.#contents
    const at = bodies.find(sequence)
    const places = at < 0 ? [] : [bodies.places[at] as number]
    for (const place of [...places, ...(this.#bodyPlaces.get(sequence) ?? [])]) {
      const page = this.#file.page(Math.floor(place / 65_536))
      const node = place % 65_536
      if (!page || valueBytes(page, node) !== reference.bytes) continue
      // Without a checksum its pages have to say that they are a body's.
      if (
        reference.checksum === undefined &&
        nodeFlags(page, node) === BIG &&
        !this.#file.isRun(runAt(page, node))
      )
        continue
      const body = this.#file.value(page, node)
      if (isBody(body, reference)) return Buffer.from(body)
    }
    return undefined
  }

  /** Bodies in runs of pages that nothing refers to any more: size and checksum say whose they are. */
  *#fromLostRuns(missing: readonly Entry[]): Generator<{ entry: Entry; body: Buffer }> {
    const wanted = new Map<string, Entry[]>()
    const sizes = new Set<number>()
    for (const entry of missing) {
      const { bytes, checksum } = entry.reference
      if (checksum === undefined) continue
      const id = `${bytes} ${checksum}`
      sizes.add(bytes)
      wanted.set(id, [...(wanted.get(id) ?? []), entry])
    }
    const ascending = [...sizes].sort((a, b) => a - b)
    const { pageBytes } = this.#file
    for (const { first, pages } of wanted.size === 0 ? [] : this.#runs) {
      const most = pages * pageBytes - PAGE_HEADER_BYTES
      const least = Math.max(0, most - pageBytes)
      const fitting = ascending.filter((bytes) => bytes > least && bytes <= most)
      if (fitting.length === 0) continue
      const run = this.#file.bytes(first * pageBytes + PAGE_HEADER_BYTES, most)
      let checksum = 0
      let done = 0
      for (const bytes of fitting) {
        if (bytes > run.length) break
        checksum = crc32(run.subarray(done, bytes), checksum)
        done = bytes
        for (const entry of wanted.get(`${bytes} ${checksum}`) ?? [])
          yield { entry, body: run.subarray(0, bytes) }
      }
    }
  }

  async #copyRest(
    target: Target,
    records: ReadonlyMap<string, QueueRecord>,
    salvage: Salvage,
  ): Promise<void> {
    const tables = new Map<string, number>()
    for (const [key, { place }] of this.#oldTables) tables.set(key, place)
    for (const place of this.#contents.tables) {
      const page = this.#file.page(Math.floor(place / 65_536)) as Buffer
      tables.set(keyOf(page, place % 65_536).toString('latin1'), place)
    }
    for (const [key, place] of tables) {
      const page = this.#file.page(Math.floor(place / 65_536)) as Buffer
      const value = Buffer.from(this.#file.value(page, place % 65_536))
      await target.addToTable(
        Buffer.from(key, 'latin1'),
        this.#contents.version === 1 ? sealValue(value) : value,
      )
    }
    await target.finish(records, this.#sequence, salvage)
  }
}

interface Entry {
  readonly queue: number
  readonly sequence: number
  readonly reference: Reference
  isFound: boolean
  /** It was in its queue; else it may have been released long ago. */
  readonly isCertain: boolean
}

/** Entries by queue. */
class Counts {
  /** Those of the state that was read, and those from old pages, which may have been released long ago. */
  readonly certain = new Map<number, number>()
  readonly old = new Map<number, number>()
  /** Of those that are known to have been there. */
  readonly lost = new Map<number, number>()

  add(to: Map<number, number>, queue: number): void {
    to.set(queue, (to.get(queue) ?? 0) + 1)
  }

  read(queue: number): number {
    return (this.certain.get(queue) ?? 0) + (this.old.get(queue) ?? 0)
  }
}

const sum = (counts: ReadonlyMap<number, number>) => [...counts.values()].reduce((all, one) => all + one, 0)

/** The new file. */
class Target {
  readonly #path: string
  readonly #root
  readonly #bodies
  readonly #references
  readonly #queues
  readonly #tables
  readonly #names
  #last = 0
  #batch: (() => void)[] = []
  #bytes = 0

  constructor(path: string) {
    this.#path = path
    this.#root = openLmdb<Uint8Array, string>({
      path,
      encoding: 'binary',
      maxDbs: 8,
      overlappingSync: false,
      noMemInit: true,
      cache: false,
    })
    this.#bodies = this.#root.openDB<Uint8Array, number>('bodies', { encoding: 'binary' })
    this.#references = this.#root.openDB<Uint8Array, [number, number]>('references', { encoding: 'binary' })
    this.#queues = this.#root.openDB<unknown, string>('queues', { encoding: 'json' })
    this.#names = this.#root.openDB<Uint8Array, number>('names', { encoding: 'binary' })
    this.#tables = this.#root.openDB<Uint8Array, Uint8Array>('tables', {
      encoding: 'binary',
      keyEncoding: 'binary',
    })
  }

  async add({ queue, sequence, reference }: Entry, body: Buffer): Promise<void> {
    const { atMs, header, key } = reference
    const bytes = encodeReference(sequence, atMs, { header: Buffer.from(header), body }, key)
    const isNew = sequence !== this.#last // several queues may have it
    this.#last = sequence
    await this.#write(body.length + bytes.length, () => {
      if (isNew) this.#bodies.putSync(sequence, body)
      this.#references.putSync([queue, sequence], bytes)
    })
  }

  async addToTable(key: Buffer, value: Buffer): Promise<void> {
    await this.#write(value.length, () => this.#tables.putSync(key, value))
  }

  async #write(bytes: number, write: () => void): Promise<void> {
    this.#batch.push(write)
    this.#bytes += bytes
    if (this.#bytes >= BATCH_BYTES_MAX || this.#batch.length >= BATCH_MAX) await this.flush()
  }

  async flush(): Promise<void> {
    // Beforehand: on a full disk lmdb may end the process (disk-room.ts). Pages may be half empty.
    if (bytesFree(dirname(this.#path)) < 2 * this.#bytes + RESERVE_BYTES)
      throw failure(
        'DISK_FULL',
        `The store in ${dirname(this.#path)} is damaged, and the disk is too full for a copy of what can be read. Free as much space as the store's file uses and start again; nothing was changed.`,
      )
    const batch = this.#batch
    this.#batch = []
    this.#bytes = 0
    this.#root.transactionSync(() => {
      for (const write of batch) write()
    })
    await breathe()
  }

  async finish(records: ReadonlyMap<string, QueueRecord>, sequence: number, salvage: Salvage): Promise<void> {
    this.#batch.push(() => {
      for (const [name, record] of records) {
        this.#queues.putSync(name, sealRecord(name, record))
        this.#names.putSync(record.id, sealValue(Buffer.from(name)))
      }
      this.#root.putSync('sequence', Buffer.from(String(sequence)))
      this.#root.putSync('version', Buffer.from(String(STORE_VERSION)))
      this.#root.putSync('salvage', Buffer.from(JSON.stringify(salvage)))
    })
    await this.flush()
  }

  async close(): Promise<void> {
    await this.#root.close()
  }
}

const copyOf = (record: QueueRecord): QueueRecord => ({ ...record, dropped: { ...record.dropped } })

function addLost(record: QueueRecord, count: number): void {
  const { unreadable = 0 } = record.dropped
  if (count > 0) record.dropped = { ...record.dropped, unreadable: unreadable + count }
}

export function describeFault({ tree, page, why }: Fault): string {
  return page === 0 ? `${tree}: ${why}` : `${tree}, page ${page}: ${why}`
}
