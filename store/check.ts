import {
  isReference,
  numberBytes,
  openRecord,
  openValue,
  PAIR_BYTES,
  pendingOf,
  type QueueRecord,
  readNumber,
  STORE_VERSION,
} from './format.ts'
import {
  BIG,
  Findings,
  keyAt,
  keyOf,
  keySize,
  type LmdbFile,
  nodeAt,
  nodeCount,
  nodeFlags,
  nodesOf,
  type Run,
  readTree,
  runAt,
  type Snapshot,
  SUBTREE,
  sortedBy,
  type Tree,
  valueAt,
  valueBytes,
} from './lmdb-file.ts'

/**
 * Everything that a store's file says, and whether it can be true: the form of its pages, the checksums of what lies in
 * them, that every reference has its body and every body a reference, that the books balance. Bodies that have pages of
 * their own are not read, so that a store of 20 GB is looked at in seconds; their checksums are for whoever reads them.
 */

export const TREES = ['bodies', 'references', 'queues', 'tables', 'names'] as const
export type TreeName = (typeof TREES)[number]
/** The main tree. */
export const ROOT = 'the root'
const TREE_BYTES = 48

/** Where a node lies: page number and offset in one number. */
export const placeOf = (page: number, at: number) => page * 65_536 + at

export interface Contents extends Root {
  readonly snapshot: Snapshot
  readonly findings: Findings
  /** Set where there is a newer state, of which not enough could be read; with its free pages where they are known. */
  newer?: { readonly free: Uint8Array | undefined }
  readonly records: ReadonlyMap<string, QueueRecord>
  /** By id. */
  readonly names: ReadonlyMap<number, string>
  /** Those that are as they were written, with where they lie. */
  readonly references: Readonly<Record<(typeof REFERENCE_COLUMNS)[number], Float64Array>>
  readonly bodies: Bodies
  /** Where the sound ones lie. */
  readonly tables: readonly number[]
}

/** So many rows of numbers, in pieces that may come in any order. */
class Columns<Name extends string> {
  readonly columns: Record<Name, Float64Array>
  readonly #names: readonly Name[]
  readonly #ordinals: number[] = []
  readonly #starts: number[] = []
  count = 0

  constructor(names: readonly Name[], countMax: number) {
    this.#names = names
    this.columns = Object.fromEntries(names.map((name) => [name, new Float64Array(countMax)])) as Record<
      Name,
      Float64Array
    >
  }

  /** What is added from now on is the piece with this place in the order. */
  begin(ordinal: number): void {
    this.#ordinals.push(ordinal)
    this.#starts.push(this.count)
  }

  /** @returns the columns, all pieces in order */
  finish(): Record<Name, Float64Array> {
    const ordinals = this.#ordinals
    const starts = [...this.#starts, this.count]
    const isOrdered = ordinals.every((ordinal, n) => n === 0 || ordinal > (ordinals[n - 1] as number))
    const order = isOrdered ? [] : sortedBy([...ordinals.keys()], ordinals)
    const finish = (from: Float64Array): Float64Array => {
      if (isOrdered) return from.subarray(0, this.count)
      const sorted = new Float64Array(this.count)
      let to = 0
      for (const piece of order) {
        const end = starts[piece + 1] as number
        for (let at = starts[piece] as number; at < end; at += 1) {
          sorted[to] = from[at] as number
          to += 1
        }
      }
      return sorted
    }
    return Object.fromEntries(this.#names.map((name) => [name, finish(this.columns[name])])) as Record<
      Name,
      Float64Array
    >
  }
}

/** The bodies in a store, by sequence number, and the pages of those that have some of their own. */
export class Bodies {
  readonly sequences: Float64Array
  readonly places: Float64Array
  readonly #firstPages: Float64Array
  readonly #pageCounts: Float64Array
  readonly #transactions: Float64Array

  constructor(rows: Record<(typeof BODY_COLUMNS)[number], Float64Array>) {
    this.sequences = rows.sequences
    this.places = rows.places
    this.#firstPages = rows.firstPages
    this.#pageCounts = rows.pageCounts
    this.#transactions = rows.transactions
  }

  /** @returns -1 where there is none */
  find(sequence: number): number {
    const { sequences } = this
    let low = 0
    let high = sequences.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sequences[middle] as number) < sequence) low = middle + 1
      else high = middle
    }
    return sequences[low] === sequence ? low : -1
  }

  /** undefined where it lies among others. */
  run(at: number): Run | undefined {
    const first = this.#firstPages[at] as number
    return first === 0
      ? undefined
      : {
          first,
          pages: this.#pageCounts[at] as number,
          transaction: this.#transactions[at] as number,
        }
  }
}

const BODY_COLUMNS = ['sequences', 'places', 'firstPages', 'pageCounts', 'transactions'] as const
const REFERENCE_COLUMNS = ['queues', 'sequences', 'places'] as const
/** The smallest node and its slot. */
const NODE_BYTES_MIN = 12

/** What a tree says of itself, where that can be. */
function entriesMax(file: LmdbFile, tree: Tree | undefined): number {
  return tree ? Math.min(tree.entries, file.pageCount * Math.floor(file.pageBytes / NODE_BYTES_MIN)) : 0
}

/** Reads the state that a snapshot names, as far as it is sound. What is not is in its findings. */
export function readContents(file: LmdbFile, snapshot: Snapshot): Contents {
  const findings = new Findings(Math.max(snapshot.lastPage + 1, file.pageCount))
  const root = readRoot(file, snapshot, findings)
  const bodies = readBodies(file, snapshot, root.trees.get('bodies'), findings)
  const records = readRecords(file, snapshot, root, findings)
  const names = readNames(file, snapshot, root, findings)
  const references = readReferences(file, snapshot, root, findings)
  const tables = readTables(file, snapshot, root, findings)
  file.freePages(snapshot, findings)
  const contents = { ...root, snapshot, findings, records, names, references, bodies, tables }
  crossCheck(contents)
  return contents
}

interface Root {
  readonly trees: ReadonlyMap<TreeName, Tree>
  /** 0 where it cannot be read. */
  readonly version: number
  /** The highest that was given to a message. */
  readonly sequence: number
  /** References from this sequence number on have a checksum. */
  readonly sealedFrom: number
  /** Of a salvage, JSON. */
  readonly report: string | undefined
}

function readRoot(file: LmdbFile, snapshot: Snapshot, findings: Findings): Root {
  const trees = new Map<TreeName, Tree>()
  const values = new Map<string, string>()
  let overflowPages = 0
  for (const { page } of file.leaves(snapshot, ROOT, snapshot.main, findings)) {
    for (const at of nodesOf(page)) {
      const name = keyOf(page, at).toString()
      const flags = nodeFlags(page, at)
      if (flags === SUBTREE) {
        const known = TREES.find((tree) => name === `${tree}\0`)
        const tree =
          valueBytes(page, at) === TREE_BYTES ? readTree(Buffer.from(page), valueAt(page, at)) : undefined
        if (known && tree?.flags === 0) trees.set(known, tree)
        else findings.add(ROOT, snapshot.main.root ?? 0, 'a tree has an unknown name or kind')
      } else if (flags === 0 || flags === BIG) {
        if (flags === BIG) {
          const run = file.run(snapshot, ROOT, page, at, findings, true)
          if (!run) continue
          overflowPages += run.pages
        }
        values.set(name, file.value(page, at).toString())
      } else findings.add(ROOT, snapshot.main.root ?? 0, 'a value of an unknown kind')
    }
  }
  checkOverflow(ROOT, snapshot.main, overflowPages, findings)
  const number = (name: string, absent: number) => {
    const text = values.get(name)
    if (text === undefined) return absent
    if (/^\d{1,16}$/.test(text)) return Number(text)
    findings.add(ROOT, snapshot.main.root ?? 0, `"${name}" is not a number`)
    return 0
  }
  const full = [...trees.values()].some(({ root }) => root !== undefined)
  // A store without a version is one that was being made.
  if (full && !values.has('version')) findings.add(ROOT, snapshot.main.root ?? 0, 'the version is missing')
  const version = number('version', full ? 0 : STORE_VERSION)
  if (full && TREES.some((name) => !trees.has(name) && (name !== 'names' || version !== 1)))
    findings.add(ROOT, snapshot.main.root ?? 0, 'a tree is missing')
  return {
    trees,
    version,
    sequence: number('sequence', 0),
    sealedFrom: version === 1 ? Infinity : number('sealedFrom', 1),
    report: values.get('salvage'),
  }
}

function readBodies(file: LmdbFile, snapshot: Snapshot, tree: Tree | undefined, findings: Findings): Bodies {
  // In the order of the file first: where the pieces belong is known when all are there.
  const rows = new Columns(BODY_COLUMNS, entriesMax(file, tree))
  const { sequences, places, firstPages, pageCounts, transactions } = rows.columns
  let overflowPages = 0
  for (const { page, number, ordinal } of leavesOf(file, snapshot, 'bodies', tree, findings)) {
    rows.begin(ordinal)
    const count = nodeCount(page)
    for (let n = 0; n < count; n += 1) {
      const at = nodeAt(page, n)
      const bytes = keySize(page, at)
      const sequence = readNumber(page, keyAt(at), bytes)
      const flags = nodeFlags(page, at)
      if (sequence === 0 || numberBytes(sequence) !== bytes || flags > BIG || rows.count === places.length) {
        addForeign('bodies', number, findings)
        break
      }
      const row = rows.count
      if (flags === BIG) {
        const run = runAt(page, at)
        if (file.run(snapshot, 'bodies', page, at, findings, false)) overflowPages += run.pages
        firstPages[row] = run.first
        pageCounts[row] = run.pages
        transactions[row] = run.transaction
      }
      sequences[row] = sequence
      places[row] = placeOf(number, at)
      rows.count += 1
    }
  }
  checkOverflow('bodies', tree, overflowPages, findings)
  return new Bodies(rows.finish())
}

function readReferences(file: LmdbFile, snapshot: Snapshot, root: Root, findings: Findings) {
  const tree = root.trees.get('references')
  const rows = new Columns(REFERENCE_COLUMNS, entriesMax(file, tree))
  const { queues, sequences, places } = rows.columns
  let overflowPages = 0
  for (const { page, number, ordinal } of leavesOf(file, snapshot, 'references', tree, findings)) {
    rows.begin(ordinal)
    const count = nodeCount(page)
    for (let n = 0; n < count; n += 1) {
      const at = nodeAt(page, n)
      const start = keyAt(at)
      const isPair = isPairAt(page, at)
      const queue = isPair ? readNumber(page, start, 9) : 0
      const sequence = isPair ? readNumber(page, start + 10, 9) : 0
      const flags = nodeFlags(page, at)
      if (queue === 0 || sequence === 0 || flags > BIG || rows.count === places.length) {
        addForeign('references', number, findings)
        break
      }
      if (flags === BIG)
        overflowPages += file.run(snapshot, 'references', page, at, findings, true)?.pages ?? 0
      if (!isReference(file.value(page, at), sequence, root.sealedFrom)) {
        findings.add('references', number, 'a reference is corrupt', rangeAt(page, at))
        continue
      }
      queues[rows.count] = queue
      sequences[rows.count] = sequence
      places[rows.count] = placeOf(number, at)
      rows.count += 1
    }
  }
  checkOverflow('references', tree, overflowPages, findings)
  return rows.finish()
}

/** The key of a reference. */
export function readPair(page: Buffer, at: number): { queue: number; sequence: number } | undefined {
  const start = keyAt(at)
  if (!isPairAt(page, at)) return undefined
  const queue = readNumber(page, start, 9)
  const sequence = readNumber(page, start + 10, 9)
  return queue && sequence ? { queue, sequence } : undefined
}

const isPairAt = (page: Buffer, at: number) => keySize(page, at) === PAIR_BYTES && page[keyAt(at) + 9] === 0

function readRecords(
  file: LmdbFile,
  snapshot: Snapshot,
  { trees, version }: Root,
  findings: Findings,
): Map<string, QueueRecord> {
  const records = new Map<string, QueueRecord>()
  const ids = new Set<number>()
  const tree = trees.get('queues')
  let overflowPages = 0
  for (const { page, number } of leavesOf(file, snapshot, 'queues', tree, findings)) {
    for (const at of nodesOf(page)) {
      if (nodeFlags(page, at) === BIG)
        overflowPages += file.run(snapshot, 'queues', page, at, findings, true)?.pages ?? 0
      const name = nameOf(page, at)
      if (name === undefined) {
        addForeign('queues', number, findings)
        break
      }
      const record =
        nodeFlags(page, at) > BIG
          ? undefined
          : openRecord(name, file.value(page, at).toString(), version !== 1)
      if (record && !ids.has(record.id)) {
        records.set(name, record)
        ids.add(record.id)
      } else findings.add('queues', number, "a queue's books are corrupt", rangeAt(page, at))
    }
  }
  checkOverflow('queues', tree, overflowPages, findings)
  return records
}

function readNames(
  file: LmdbFile,
  snapshot: Snapshot,
  { trees }: Root,
  findings: Findings,
): Map<number, string> {
  const names = new Map<number, string>()
  const tree = trees.get('names')
  let overflowPages = 0
  for (const { page, number } of leavesOf(file, snapshot, 'names', tree, findings)) {
    for (const at of nodesOf(page)) {
      if (nodeFlags(page, at) === BIG)
        overflowPages += file.run(snapshot, 'names', page, at, findings, true)?.pages ?? 0
      const id = readNumber(page, keyAt(at), keySize(page, at))
      const name = nodeFlags(page, at) > BIG ? undefined : openValue(file.value(page, at))
      if (id > 0 && name) names.set(id, Buffer.from(name).toString())
      else findings.add('names', number, "a queue's name is corrupt", rangeAt(page, at))
    }
  }
  checkOverflow('names', tree, overflowPages, findings)
  return names
}

/** A string as a key; undefined where it is none. lmdb puts 27 before one that begins with a control character. */
export function nameOf(page: Buffer, at: number): string | undefined {
  const name = keyOf(page, at).toString()
  return name.includes('\ufffd') ? undefined : name.slice(name.startsWith('\x1b') ? 1 : 0)
}

function readTables(
  file: LmdbFile,
  snapshot: Snapshot,
  { trees, version }: Root,
  findings: Findings,
): number[] {
  const places: number[] = []
  const tree = trees.get('tables')
  let overflowPages = 0
  for (const { page, number } of leavesOf(file, snapshot, 'tables', tree, findings)) {
    for (const at of nodesOf(page)) {
      if (nodeFlags(page, at) === BIG)
        overflowPages += file.run(snapshot, 'tables', page, at, findings, true)?.pages ?? 0
      if (nodeFlags(page, at) <= BIG && isTableEntry(file, page, at, version))
        places.push(placeOf(number, at))
      else findings.add('tables', number, 'a value is corrupt', rangeAt(page, at))
    }
  }
  checkOverflow('tables', tree, overflowPages, findings)
  return places
}

/** A key is a table's name, a 0 and more. */
export function isTableEntry(file: LmdbFile, page: Buffer, at: number, version: number): boolean {
  return keyOf(page, at).indexOf(0) > 0 && (version === 1 || openValue(file.value(page, at)) !== undefined)
}

function leavesOf(
  file: LmdbFile,
  snapshot: Snapshot,
  name: TreeName,
  tree: Tree | undefined,
  findings: Findings,
) {
  return tree ? file.leaves(snapshot, name, tree, findings) : []
}

function checkOverflow(name: string, tree: Tree | undefined, count: number, findings: Findings): void {
  if (tree && count !== tree.overflowPages && !findings.lost.has(name))
    findings.add(name, tree.root ?? 0, `${count} pages of long values instead of ${tree.overflowPages}`)
}

/** A page that is sound, and of another tree: any keys may be missing, and whose it is will be seen. */
function addForeign(tree: TreeName, number: number, findings: Findings): void {
  findings.pages[number] = 0
  findings.add(tree, number, 'it belongs to another tree')
}

/** The one key of a node. */
function rangeAt(page: Buffer, at: number) {
  const low = Buffer.from(keyOf(page, at))
  return { low, high: Buffer.concat([low, Buffer.of(0)]) }
}

/** What is sound by itself, and cannot be true together: an old page in the place of a new one. */
function crossCheck(contents: Contents): void {
  const { records, names, references, bodies, sequence, version, findings } = contents
  const pending = new Map<number, number>()
  const referred = new Uint8Array(bodies.sequences.length)
  let missing = 0
  let highest = 0
  let lastAt = 0
  references.sequences.forEach((number, n) => {
    const queue = references.queues[n] as number
    pending.set(queue, (pending.get(queue) ?? 0) + 1)
    if (number > highest) highest = number
    // Mostly the one after the last one.
    lastAt = bodies.sequences[lastAt + 1] === number ? lastAt + 1 : bodies.find(number)
    if (lastAt < 0) missing += 1
    else referred[lastAt] = 1
  })
  // What is missing in a tree that is damaged is known to be so.
  const add = (tree: string, why: string) =>
    findings.lost.has(tree) ? findings.note(tree, 0, why) : found.push(() => findings.add(tree, 0, why))
  const found: (() => void)[] = []
  if (missing > 0) add('bodies', `${missing} references have no body`)
  const unwanted = referred.reduce((count, one) => count + 1 - one, 0)
  if (unwanted > 0) add('references', `${unwanted} bodies have no reference`)
  if (highest > sequence) add(ROOT, `message ${highest} is newer than the last one, ${sequence}`)
  for (const [name, record] of records) {
    if (version !== 1 && names.get(record.id) !== name) add('names', `${JSON.stringify(name)} is missing`)
    const count = pending.get(record.id) ?? 0
    pending.delete(record.id)
    if (count !== pendingOf(record))
      add('references', `${JSON.stringify(name)} has ${count} of ${pendingOf(record)} entries`)
  }
  // Version 1 kept what was accepted for a session that was discarded in the same moment.
  for (const [id, count] of version === 1 ? [] : pending)
    add('queues', `${count} entries belong to a queue ${id} without books`)
  for (const fault of found) fault()
}
