import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { alive } from '../lib/launcher.ts'

/**
 * An LMDB file as it lies on disk, read without LMDB: LMDB maps its file and trusts it, so that one wrong page number
 * ends the process with SIGSEGV. Here everything is looked at before it is believed, and nothing is written.
 *
 * The format of lmdb 3.5 (data version 2, little endian; its header lmdb.h and mdb.c describe it, experiments confirm it):
 *
 *   page      8 bytes its own number, 8 transaction that wrote it, 2 unused, 2 flags, 2 + 2 lower and upper end of the
 *             free space (an overflow run: 4 bytes number of pages). Offsets count from behind this header.
 *   branch,   2 bytes a node, where it begins, in key order; the nodes lie packed at the end of the page
 *   leaf
 *   node      4 bytes size of the value, 2 flags, 2 size of the key, key, value. In a branch the first 6 bytes are the
 *             child's page number, and its key is the lower bound of what lies there (the first one has none).
 *   overflow  a value that does not fit half a page: the node holds 8 bytes first page, 8 transaction, 8 number of pages
 *   meta      pages 0 and 1: magic, version, tree of free pages, main tree, last page, transaction. The one with the
 *             higher transaction counts; a commit writes the other one, after all its pages.
 */

const MAGIC = 0xbeefc0de
const VERSION = 2
export const PAGE_HEADER_BYTES = 24
const NODE_HEADER_BYTES = 8
const META_BYTES = 168
const KEY_BYTES_MAX = 2000
const DEPTH_MAX = 32
/** Where a tree is empty, its root says so. */
const NO_PAGE = 0xffffffffffffffffn
/** Of the environment, as this project opens it: integer keys in the tree of free pages, a file and no folder. */
const META_FLAGS = 0x4008
const PAGE_BYTES = [4096, 8192, 16_384, 32_768, 65_536]

export const BRANCH = 1
export const LEAF = 2
export const OVERFLOW = 4
const META = 8
/** Node flags: the value is an overflow run, or the record of a tree. */
export const BIG = 1
export const SUBTREE = 2

/** Pages are read together where no more than so many lie between them, at most so many bytes at once. */
const GAP_PAGES_MAX = 8
const READ_BYTES = 1024 * 1024

export interface Tree {
  readonly flags: number
  readonly depth: number
  readonly branchPages: number
  readonly leafPages: number
  readonly overflowPages: number
  readonly entries: number
  /** undefined where the tree is empty. */
  readonly root: number | undefined
}

/** The state of the file that one commit left behind. */
export interface Snapshot {
  readonly transaction: number
  readonly lastPage: number
  /** undefined where only the page of the main tree was found. */
  readonly free: Tree | undefined
  readonly main: Tree
}

export interface Leaf {
  readonly page: Buffer
  readonly number: number
  /** Place among the tree's leaves, in key order. */
  readonly ordinal: number
}

export interface Fault {
  readonly tree: string
  readonly page: number
  readonly why: string
}

/** Keys from `low` on and below `high` (undefined: no bound). */
export interface Range {
  readonly low: Buffer | undefined
  readonly high: Buffer | undefined
}

const ALL: Range = { low: undefined, high: undefined }

/** What a walk notes: pages in use, and what is wrong. */
export class Findings {
  /** By page number. */
  readonly pages: Uint8Array
  readonly faults: Fault[] = []
  /** Of each tree that is damaged, the keys of which some may be missing. */
  readonly lost = new Map<string, Range[]>()
  /** Pages that a tree has and that are not sound. */
  readonly damaged = new Set<number>()
  faultCount = 0

  constructor(pageCount: number) {
    this.pages = new Uint8Array(pageCount)
  }

  /** @param range of the keys that may be missing for it */
  add(tree: string, page: number, why: string, range = ALL): void {
    this.note(tree, page, why)
    const lost = this.lost.get(tree)
    if (lost) lost.push(range)
    else this.lost.set(tree, [range])
  }

  /** Where nothing more is missing for it than is known already. */
  note(tree: string, page: number, why: string): void {
    this.faultCount += 1
    if (this.faults.length < FAULTS_MAX) this.faults.push({ tree, page, why })
  }

  /** Whether a key may be missing in a tree. */
  mayMiss(tree: string, key: Buffer): boolean {
    return (this.lost.get(tree) ?? []).some(
      ({ low, high }) => (!low || key.compare(low) >= 0) && (!high || key.compare(high) < 0),
    )
  }
}

/** What a page is, in `Findings.pages`; 0 where nothing refers to it. */
export const USED = 1
export const FREE = 2

const FAULTS_MAX = 20

export class LmdbFile implements Disposable {
  readonly #file: number
  readonly pageBytes: number
  /** Those that are not there to their end, end in zeros. */
  readonly pageCount: number
  readonly #size: number
  readonly #cache = new Map<number, Buffer>()
  readonly #starts: Uint16Array

  private constructor(file: number, pageBytes: number, size: number) {
    this.#file = file
    this.pageBytes = pageBytes
    this.#size = size
    this.pageCount = Math.ceil(size / pageBytes)
    this.#starts = new Uint16Array(pageBytes)
  }

  /** @returns undefined where nothing in the file looks like a page of LMDB */
  static open(path: string): LmdbFile | undefined {
    const file = openSync(path, 'r')
    try {
      const { size } = fstatSync(file)
      const pageBytes = findPageBytes(file, size)
      if (pageBytes !== undefined) return new LmdbFile(file, pageBytes, size)
    } catch (error) {
      closeSync(file)
      throw error
    }
    closeSync(file)
    return undefined
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  /** Those of the meta pages that are whole, newest first. LMDB would take the first one. */
  snapshots(): Snapshot[] {
    return [0, 1]
      .map((number) => this.#snapshot(this.#read(number)))
      .filter((snapshot) => snapshot !== undefined)
      .sort((a, b) => b.transaction - a.transaction)
  }

  #snapshot(page: Buffer | undefined): Snapshot | undefined {
    if (!page || page.readUInt16LE(18) !== META) return undefined
    if (page.readUInt32LE(24) !== MAGIC || page.readUInt32LE(28) !== VERSION) return undefined
    if (page.readUInt32LE(48) !== this.pageBytes || page.readUInt16LE(52) !== META_FLAGS) return undefined
    const free = readTree(page, 48)
    const main = readTree(page, 96)
    const lastPage = read64(page, 144)
    const transaction = read64(page, 152)
    if (!free || !main || main.flags !== 0 || lastPage < 1 || !Number.isSafeInteger(transaction))
      return undefined
    return { transaction, lastPage, free, main }
  }

  /** A page by its number; undefined where the file is too short. Not to be kept: its bytes are used again. */
  page(number: number): Buffer | undefined {
    const cached = this.#cache.get(number)
    if (cached) return cached
    const page = this.#read(number)
    if (page) {
      if (this.#cache.size >= 64) this.#cache.clear()
      this.#cache.set(number, page)
    }
    return page
  }

  #read(number: number): Buffer | undefined {
    if (!(number < this.pageCount)) return undefined
    const page = Buffer.alloc(this.pageBytes)
    return this.#readInto(page, number * this.pageBytes) > 0 ? page : undefined
  }

  /** A large file takes minutes, and nothing else turns meanwhile. */
  #readInto(bytes: Buffer, at: number): number {
    alive()
    return readSync(this.#file, bytes, 0, bytes.length, at)
  }

  /** Bytes of the file; fewer where it is too short. */
  bytes(at: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.#size - at)))
    if (bytes.length === 0) return bytes
    return bytes.subarray(0, this.#readInto(bytes, at))
  }

  /** Pages in the order given, those that lie close together with one read. The page is lent until the next one. */
  *pages(numbers: Iterable<number>): Generator<{ number: number; page: Buffer | undefined }> {
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    const perRead = Math.floor(READ_BYTES / this.pageBytes)
    let together: number[] = []
    const flush = function* (this: LmdbFile): Generator<{ number: number; page: Buffer | undefined }> {
      const [first, last] = [together[0], together.at(-1)]
      if (first === undefined || last === undefined) return
      const wanted = (last - first + 1) * this.pageBytes
      const read =
        first < this.pageCount ? this.#readInto(buffer.subarray(0, wanted), first * this.pageBytes) : 0
      for (const number of together) {
        const at = (number - first) * this.pageBytes
        const end = at + this.pageBytes
        if (end > read) buffer.fill(0, Math.max(at, read), end)
        yield { number, page: at < read ? buffer.subarray(at, end) : undefined }
      }
    }.bind(this)
    for (const number of numbers) {
      const first = together[0]
      const last = together.at(-1)
      if (
        first !== undefined &&
        last !== undefined &&
        !(number > last && number - last <= GAP_PAGES_MAX && number - first < perRead)
      ) {
        yield* flush()
        together = []
      }
      together.push(number)
    }
    yield* flush()
  }

  /**
   * The leaves of a tree that are as they should be; the others, and what is wrong with them, are noted.
   * @param inOrder in key order; else in the order in which they lie in the file, which is quicker
   */
  *leaves(
    snapshot: Snapshot,
    name: string,
    tree: Tree,
    findings: Findings,
    inOrder = false,
  ): Generator<Leaf> {
    if (tree.root === undefined) {
      if (tree.entries !== 0) findings.add(name, 0, 'a tree without pages claims to have entries')
      return
    }
    if (tree.depth < 1 || tree.depth > DEPTH_MAX) {
      findings.add(name, tree.root, `a depth of ${tree.depth}`)
      return
    }
    const counts = { branchPages: 0, leafPages: 0, entries: 0 }
    const top: Parent = {
      page: undefined,
      low: undefined,
      high: undefined,
      transaction: snapshot.transaction,
    }
    let level: Level = { numbers: [tree.root], parents: [top], parentOf: [0], nodeOf: [0] }
    const order = { memcmp: name !== FREE_TREE, keysMin: name === FREE_TREE ? 1 : 2 }
    for (let depth = 1; depth < tree.depth; depth += 1) {
      const branches: { page: Buffer; place: Place }[] = []
      for (const { place, page } of this.#level(snapshot, name, level, findings, false)) {
        const why = this.#pageFault(page, place, BRANCH, order)
        if (why !== undefined) {
          this.#lose(name, place, why, findings)
          continue
        }
        counts.branchPages += 1
        branches.push({ page: Buffer.from(page), place })
      }
      level = below(branches.sort((a, b) => a.place.ordinal - b.place.ordinal))
    }
    for (const { place, page } of this.#level(snapshot, name, level, findings, inOrder)) {
      const why = this.#pageFault(page, place, LEAF, order)
      if (why !== undefined) {
        this.#lose(name, place, why, findings)
        continue
      }
      counts.leafPages += 1
      counts.entries += nodeCount(page)
      yield { page, number: place.number, ordinal: place.ordinal }
    }
    // Where pages are missing the counts cannot be right.
    if (findings.lost.has(name)) return
    for (const key of ['branchPages', 'leafPages', 'entries'] as const)
      if (counts[key] !== tree[key])
        findings.add(name, tree.root, `${counts[key]} ${WORDS[key]} instead of ${tree[key]}`)
  }

  *#level(
    snapshot: Snapshot,
    name: string,
    level: Level,
    findings: Findings,
    inOrder: boolean,
  ): Generator<{ place: Place; page: Buffer }> {
    const { numbers } = level
    const claimed: number[] = []
    numbers.forEach((number, ordinal) => {
      const why = this.#claim(snapshot, number, 1, findings)
      if (why === undefined) claimed.push(ordinal)
      else findings.add(name, number, why, rangeOf(placeAt(level, ordinal)))
    })
    const order = inOrder ? claimed : sortedBy(claimed, numbers)
    let at = 0
    for (const { page } of this.pages(pick(numbers, order))) {
      const place = placeAt(level, order[at] as number)
      at += 1
      if (page) yield { place, page }
      else this.#lose(name, place, 'the file ends before it', findings)
    }
  }

  /** A page of a tree that cannot be read: nothing uses it then. */
  #lose(tree: string, place: Place, why: string, findings: Findings): void {
    findings.pages[place.number] = 0
    findings.damaged.add(place.number)
    findings.add(tree, place.number, why, rangeOf(place))
  }

  /** Notes that pages are in use. @returns why they cannot be */
  #claim(snapshot: Snapshot, first: number, count: number, { pages }: Findings): string | undefined {
    if (!(first >= 2 && count >= 1 && first + count - 1 <= snapshot.lastPage))
      return `pages ${first} to ${first + count - 1} are not in the file`
    for (let number = first; number < first + count; number += 1)
      if (pages[number] !== 0) return `page ${number} is used twice`
    pages.fill(USED, first, first + count)
    return undefined
  }

  /** Why a page is no sound branch or leaf; undefined where it is one. */
  #pageFault(page: Buffer, place: Place, flags: number, order: Order): string | undefined {
    if (read64(page, 0) !== place.number) return `its page number is ${read64(page, 0)}`
    if (page.readUInt16LE(18) !== flags) return `it has the wrong type (${page.readUInt16LE(18)})`
    if (!(read64(page, 8) <= place.transaction)) return 'it is newer than its parent'
    const lower = page.readUInt16LE(20)
    const upper = page.readUInt16LE(22)
    const end = this.pageBytes - PAGE_HEADER_BYTES
    const count = lower >>> 1
    if (lower & 1 || lower > upper || upper > end || count < (flags === BRANCH ? order.keysMin : 1))
      return 'its bounds are invalid'
    const starts = this.#starts
    starts.fill(0, upper, end)
    let previousAt = 0
    let previousBytes = -1
    for (let n = 0; n < count; n += 1) {
      const start = page.readUInt16LE(PAGE_HEADER_BYTES + 2 * n)
      if (start & 1 || start < upper || start + NODE_HEADER_BYTES > end) return 'an entry is outside the page'
      const at = PAGE_HEADER_BYTES + start
      const keyBytes = page.readUInt16LE(at + 6)
      const bytes = nodeBytes(page, at, flags)
      if (keyBytes > KEY_BYTES_MAX || start + bytes > end) return 'an entry is longer than the page'
      if (starts[start] !== 0) return 'two entries overlap'
      starts[start] = bytes
      if (flags === LEAF && keyBytes === 0) return 'an entry has no key'
      if (!order.memcmp && keyBytes !== 8 && (flags === LEAF || n > 0)) return 'a key has the wrong size'
      const keyAt = at + NODE_HEADER_BYTES
      if (flags === BRANCH && n === 0) continue
      if (
        previousBytes >= 0 &&
        compareKeys(order, page, previousAt, previousBytes, page, keyAt, keyBytes) >= 0
      )
        return 'its keys are out of order'
      if (previousBytes < 0 && place.low && !atLeast(order, page, keyAt, keyBytes, place.low))
        return 'its keys are below its range'
      previousAt = keyAt
      previousBytes = keyBytes
    }
    if (place.high && atLeast(order, page, previousAt, previousBytes, place.high))
      return 'its keys are above its range'
    for (let at = upper; at < end; at += starts[at] as number)
      if (starts[at] === 0) return 'its entries do not fill it'
    return undefined
  }

  /**
   * Where a value lies that has pages of its own, noted as in use.
   * @param header whether to read its first page too, which costs a read for each
   */
  run(
    snapshot: Snapshot,
    name: string,
    page: Buffer,
    at: number,
    findings: Findings,
    header: boolean,
  ): Run | undefined {
    const run = runAt(page, at)
    const needed = runPages(valueBytes(page, at), this.pageBytes)
    let why =
      run.pages < needed || !(run.transaction <= read64(page, 8))
        ? 'a value has the wrong number of pages'
        : this.#claim(snapshot, run.first, run.pages, findings)
    if (why === undefined && run.first + run.pages > this.pageCount) why = 'the file ends before it'
    if (why === undefined && header && !this.isRun(run)) why = 'a value does not begin where it should'
    if (why === undefined) return run
    findings.add(name, run.first, why)
    return undefined
  }

  /** Whether the first page of a run says the same: LMDB believes it when it frees the run. */
  isRun({ first, pages, transaction }: Run): boolean {
    const header = this.bytes(first * this.pageBytes, PAGE_HEADER_BYTES)
    return (
      header.length === PAGE_HEADER_BYTES &&
      read64(header, 0) === first &&
      read64(header, 8) <= transaction &&
      header.readUInt16LE(18) === OVERFLOW &&
      header.readUInt32LE(20) === pages
    )
  }

  /** The value of a node that was sound once, in a page that may have been written again since then. */
  valueThen(number: number, at: number): Buffer | undefined {
    const page = this.page(number)
    if (!page || at + NODE_HEADER_BYTES > this.pageBytes) return undefined
    const isWithin = at - PAGE_HEADER_BYTES + nodeBytes(page, at, LEAF) <= this.pageBytes - PAGE_HEADER_BYTES
    return isWithin ? this.value(page, at) : undefined
  }

  /** A node's value, wherever it lies; shorter than it should be where the file ends. */
  value(page: Buffer, at: number): Buffer {
    const bytes = valueBytes(page, at)
    if (nodeFlags(page, at) & BIG)
      return this.bytes(runAt(page, at).first * this.pageBytes + PAGE_HEADER_BYTES, bytes)
    const start = valueAt(page, at)
    return page.subarray(start, start + bytes)
  }

  /** Notes the free pages, and what is wrong with their tree. LMDB writes to whatever it finds there. */
  freePages(snapshot: Snapshot, findings: Findings): void {
    if (!snapshot.free) return
    let overflowPages = 0
    for (const { page, number } of this.leaves(snapshot, FREE_TREE, snapshot.free, findings)) {
      for (const at of nodesOf(page)) {
        let value = this.value(page, at)
        if (nodeFlags(page, at) & BIG) {
          const run = this.run(snapshot, FREE_TREE, page, at, findings, true)
          if (!run) continue
          overflowPages += run.pages
        } else value = Buffer.from(value)
        const key = read64(page, keyAt(at))
        const why =
          nodeFlags(page, at) > BIG || key < 1 || key > snapshot.transaction
            ? 'a list of free pages is out of place'
            : markFree(value, snapshot, findings)
        if (why !== undefined) findings.add(FREE_TREE, number, why)
      }
    }
    if (overflowPages !== snapshot.free.overflowPages)
      findings.add(
        FREE_TREE,
        0,
        `${overflowPages} pages of long lists instead of ${snapshot.free.overflowPages}`,
      )
  }

  /**
   * The nodes of a page that may be damaged, as far as they lie within it: what they hold has to be judged otherwise.
   * @returns where each begins, and whether it is one of those that the page says it has; another one may be a node
   *   that was removed, or the page may be wrong
   */
  *possibleNodes(page: Buffer): Generator<{ at: number; isListed: boolean }> {
    const end = this.pageBytes - PAGE_HEADER_BYTES
    const lower = page.readUInt16LE(20)
    let first = end
    for (let n = 0; 2 * n + 2 <= first; n += 1) {
      const start = page.readUInt16LE(PAGE_HEADER_BYTES + 2 * n)
      if (start & 1 || start < 2 * n + 2 || start + NODE_HEADER_BYTES > end) continue
      const at = PAGE_HEADER_BYTES + start
      const key = page.readUInt16LE(at + 6)
      if (key === 0 || key > KEY_BYTES_MAX || start + nodeBytes(page, at, LEAF) > end) continue
      first = Math.min(first, start)
      yield { at, isListed: 2 * n + 2 <= lower }
    }
  }
}

interface Place {
  readonly number: number
  /** Among the pages of its level, in key order. */
  readonly ordinal: number
  /** The keys below it are at least this one, and below that one. */
  readonly low: Key | undefined
  readonly high: Key | undefined
  /** Of the page that refers to it. */
  readonly transaction: number
}

/** The pages of a tree at one depth, in key order: numbers only, since there may be many. */
interface Level {
  readonly numbers: number[]
  readonly parents: Parent[]
  /** Which of the parents refers to it, and with which of its nodes. */
  readonly parentOf: number[]
  readonly nodeOf: number[]
}

interface Parent {
  /** undefined for what refers to the root. */
  readonly page: Buffer | undefined
  readonly low: Key | undefined
  readonly high: Key | undefined
  readonly transaction: number
}

interface Key {
  readonly page: Buffer
  readonly at: number
  readonly bytes: number
}

interface Order {
  /** Byte by byte, the shorter one first; else as numbers of 8 bytes. */
  readonly memcmp: boolean
  /** In a branch. */
  readonly keysMin: number
}

/** A value on pages of its own. */
export interface Run {
  readonly first: number
  readonly pages: number
  readonly transaction: number
}

export const FREE_TREE = 'free pages'
const WORDS = { branchPages: 'branch pages', leafPages: 'leaf pages', entries: 'entries' } as const

/** How many pages a value has that does not fit into a leaf. */
export const runPages = (bytes: number, pageBytes: number) =>
  Math.floor((PAGE_HEADER_BYTES - 1 + bytes) / pageBytes) + 1

export const nodeCount = (page: Buffer) => page.readUInt16LE(20) >>> 1
/** Where the node begins that is the nth in key order. */
export const nodeAt = (page: Buffer, n: number) =>
  PAGE_HEADER_BYTES + page.readUInt16LE(PAGE_HEADER_BYTES + 2 * n)
export const nodeFlags = (page: Buffer, at: number) => page.readUInt16LE(at + 4)
export const keyAt = (at: number) => at + NODE_HEADER_BYTES
export const keySize = (page: Buffer, at: number) => page.readUInt16LE(at + 6)
export const keyOf = (page: Buffer, at: number) => page.subarray(keyAt(at), keyAt(at) + keySize(page, at))
export const valueAt = (page: Buffer, at: number) => keyAt(at) + keySize(page, at)
export const valueBytes = (page: Buffer, at: number) => page.readUInt32LE(at)

export function* nodesOf(page: Buffer): Generator<number> {
  const count = nodeCount(page)
  for (let n = 0; n < count; n += 1) yield nodeAt(page, n)
}

export function runAt(page: Buffer, at: number): Run {
  const start = valueAt(page, at)
  return { first: read64(page, start), transaction: read64(page, start + 8), pages: read64(page, start + 16) }
}

/** A tree's record: in a meta page, or as a value of the main tree. */
export function readTree(page: Buffer, at: number): Tree | undefined {
  const root = page.readBigUInt64LE(at + 40)
  const numbers = [8, 16, 24, 32].map((offset) => read64(page, at + offset))
  if (numbers.some((number) => !Number.isSafeInteger(number))) return undefined
  const [branchPages, leafPages, overflowPages, entries] = numbers as [number, number, number, number]
  return {
    flags: page.readUInt16LE(at + 4),
    depth: page.readUInt16LE(at + 6),
    branchPages,
    leafPages,
    overflowPages,
    entries,
    root: root === NO_PAGE ? undefined : Number(root),
  }
}

export function read64(page: Buffer, at: number): number {
  return page.readUInt32LE(at) + page.readUInt32LE(at + 4) * 0x1_0000_0000
}

function nodeBytes(page: Buffer, at: number, pageFlags: number): number {
  const key = page.readUInt16LE(at + 6)
  if (pageFlags === BRANCH) return (NODE_HEADER_BYTES + key + 1) & ~1
  const value = page.readUInt16LE(at + 4) & BIG ? 24 : page.readUInt32LE(at)
  return value > 65_536 ? Infinity : (NODE_HEADER_BYTES + key + value + 1) & ~1
}

function below(branches: readonly { page: Buffer; place: Place }[]): Level {
  const level: Level = { numbers: [], parents: [], parentOf: [], nodeOf: [] }
  for (const { page, place } of branches) {
    const parent = level.parents.push({ page, ...place, transaction: read64(page, 8) }) - 1
    const count = nodeCount(page)
    for (let n = 0; n < count; n += 1) {
      const at = nodeAt(page, n)
      level.numbers.push(page.readUInt32LE(at) + page.readUInt16LE(at + 4) * 0x1_0000_0000)
      level.parentOf.push(parent)
      level.nodeOf.push(n)
    }
  }
  return level
}

function placeAt(level: Level, ordinal: number): Place {
  const { page, low, high, transaction } = level.parents[level.parentOf[ordinal] as number] as Parent
  const number = level.numbers[ordinal] as number
  const n = level.nodeOf[ordinal] as number
  if (!page) return { number, ordinal, low, high, transaction }
  const isLast = n === nodeCount(page) - 1
  return {
    number,
    ordinal,
    low: n === 0 ? low : nodeKey(page, n),
    high: isLast ? high : nodeKey(page, n + 1),
    transaction,
  }
}

function nodeKey(page: Buffer, n: number): Key {
  const at = nodeAt(page, n)
  return { page, at: keyAt(at), bytes: keySize(page, at) }
}

/** Indices, in the order of what they stand for. Sorted as plain numbers, which is ten times quicker than comparing. */
export function sortedBy(indices: readonly number[], values: ArrayLike<number>): Float64Array {
  const most = indices.reduce((high, index) => Math.max(high, index), 0) + 1
  const both = Float64Array.from(indices, (index) => (values[index] as number) * most + index).sort()
  if ((both.at(-1) ?? 0) <= Number.MAX_SAFE_INTEGER) return both.map((one) => one % most)
  return Float64Array.from(indices.toSorted((a, b) => (values[a] as number) - (values[b] as number)))
}

function* pick(numbers: readonly number[], at: Iterable<number>): Generator<number> {
  for (const n of at) yield numbers[n] as number
}

const keyCopy = (key: Key | undefined) => key && Buffer.from(key.page.subarray(key.at, key.at + key.bytes))
const rangeOf = ({ low, high }: Place): Range => ({ low: keyCopy(low), high: keyCopy(high) })

function atLeast(order: Order, page: Buffer, at: number, bytes: number, bound: Key): boolean {
  return compareKeys(order, page, at, bytes, bound.page, bound.at, bound.bytes) >= 0
}

function compareKeys(
  order: Order,
  a: Buffer,
  aAt: number,
  aBytes: number,
  b: Buffer,
  bAt: number,
  bBytes: number,
): number {
  if (!order.memcmp) return read64(a, aAt) - read64(b, bAt)
  const common = Math.min(aBytes, bBytes)
  for (let n = 0; n < common; n += 1) {
    const difference = (a[aAt + n] as number) - (b[bAt + n] as number)
    if (difference !== 0) return difference
  }
  return aBytes - bBytes
}

/** A list of free pages: how many words follow; a page each, or minus a count and the first page of so many; or 0. */
function markFree(value: Buffer, snapshot: Snapshot, { pages }: Findings): string | undefined {
  const count = value.length >= 8 ? read64(value, 0) : Infinity
  if ((count + 1) * 8 > value.length) return 'a list of free pages is truncated'
  for (let n = 1; n <= count; n += 1) {
    const word = Number(value.readBigInt64LE(8 * n))
    if (word === 0) continue
    let length = 1
    let first = word
    if (word < 0) {
      n += 1
      if (n > count) return 'a list of free pages is truncated'
      length = -word
      first = Number(value.readBigInt64LE(8 * n))
    }
    if (first < 2 || first + length - 1 > snapshot.lastPage) return 'a free page is not in the file'
    for (let number = first; number < first + length; number += 1) {
      if (pages[number] === USED) return `page ${number} is in use, and free`
      pages[number] = FREE
    }
  }
  return undefined
}

/** As a meta page says it; where both are lost, the size at which the most pages know their own number. */
function findPageBytes(file: number, size: number): number | undefined {
  const head = Buffer.alloc(META_BYTES)
  for (const at of [0, ...PAGE_BYTES]) {
    if (readSync(file, head, 0, META_BYTES, at) !== META_BYTES) continue
    const pageBytes = head.readUInt32LE(48)
    if (head.readUInt32LE(24) === MAGIC && PAGE_BYTES.includes(pageBytes) && (at === 0 || at === pageBytes))
      return pageBytes
  }
  let best: number | undefined
  let most = 0
  for (const pageBytes of PAGE_BYTES) {
    let count = 0
    const pages = Math.min(Math.floor(size / pageBytes), PAGES_LOOKED_AT_MAX)
    for (let number = 2; number < pages; number += 1) {
      readSync(file, head, 0, PAGE_HEADER_BYTES, number * pageBytes)
      if (read64(head, 0) === number && [LEAF, BRANCH, OVERFLOW].includes(head.readUInt16LE(18))) count += 1
    }
    if (count > most) {
      most = count
      best = pageBytes
    }
  }
  return best
}

const PAGES_LOOKED_AT_MAX = 10_000
