import { spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeReference, isReference } from '../store/format.ts'
import { prepareStore } from '../store/salvage.ts'
import { DAMAGES, damage } from '../test/kit/damage.ts'
import { LIVED_MESSAGES, LIVED_QUEUES, makeLivedStore } from '../test/kit/lived-store.ts'
import { seeded } from '../test/kit/wait.ts'
import type { Key, Line, Task } from './lmdb-reader.ts'

/**
 * What `store/salvage.ts` saves of damaged stores, and what LMDB itself would, were it to read the file in a process
 * of its own: forwards until it dies, backwards, then each key that there ever was, and with either of the pages that say
 * where all is. It is given what it would not have: those keys, and a copy that does not end where it might look.
 */
const SEEDS = [11, 12, 13]
const READER_MS_MAX = 10_000
const PAGE_BYTES = 4096
/** Of the store's file, in zeros, which is cheap: reading behind the end is death. */
const COPY_TIMES = 20
const SEQUENCES = Array.from({ length: LIVED_MESSAGES }, (_, n) => n + 1)
/** All that there ever were. */
const KEYS: Readonly<Record<Task['table'], readonly Key[]>> = {
  bodies: SEQUENCES,
  references: LIVED_QUEUES.flatMap((_, n) => SEQUENCES.map((sequence): Key => [n + 1, sequence])),
}

export interface SalvageRow {
  readonly copies: number
  readonly entries: number
  /** Entries that were in, and are back. */
  readonly saved: { ours: number; lmdb: number }
  /** Those that had left before. */
  readonly old: { ours: number; lmdb: number }
  /** Those that are not what was accepted. */
  readonly wrong: { ours: number; lmdb: number }
  readonly ms: { ours: number; lmdb: number }
}

export async function benchSalvage(copies: number): Promise<ReadonlyMap<string, SalvageRow>> {
  const base = mkdtempSync(join(tmpdir(), 'sightline-salvage-'))
  const rows = new Map<string, SalvageRow>()
  try {
    for (const seed of SEEDS) {
      const folder = join(base, `${seed}`)
      const older = join(base, `${seed}-older.mdb`)
      await makeLivedStore(folder, older, seeded(seed))
      const file = join(folder, 'store.mdb')
      const pending = readAll(file)
      let copy = 0
      for (const [how, act] of Object.entries(DAMAGES))
        for (let n = 0; n < copies; n += 1) {
          copy += 1
          const place = join(base, 'damaged')
          mkdirSync(place)
          const path = join(place, 'store.mdb')
          copyFileSync(file, path)
          damage(path, act, { random: seeded(seed * 1000 + copy), older })
          const row = rows.get(how) ?? newRow()
          rows.set(how, row)
          await compare(path, pending, row)
          rmSync(place, { recursive: true })
        }
    }
  } finally {
    rmSync(base, { recursive: true, force: true })
  }
  return rows
}

const newRow = (): SalvageRow => ({
  copies: 0,
  entries: 0,
  saved: { ours: 0, lmdb: 0 },
  old: { ours: 0, lmdb: 0 },
  wrong: { ours: 0, lmdb: 0 },
  ms: { ours: 0, lmdb: 0 },
})

async function compare(path: string, pending: Entries, row: SalvageRow): Promise<void> {
  const count = (who: 'ours' | 'lmdb', read: Entries) => {
    for (const [id, checksum] of read)
      row[pending.get(id) === undefined ? 'old' : pending.get(id) === checksum ? 'saved' : 'wrong'][who] += 1
  }
  const timed = async <T>(who: 'ours' | 'lmdb', act: () => T) => {
    const since = performance.now()
    const done = await act()
    row.ms[who] += performance.now() - since
    return done
  }
  count('lmdb', await timed('lmdb', () => readByLmdb(path)))
  using _ = await timed('ours', () => prepareStore(path))
  count('ours', readAll(path))
  Object.assign(row, { copies: row.copies + 1, entries: row.entries + pending.size })
}

/** Checksum of the body, by queue and sequence number. */
type Entries = ReadonlyMap<string, number>

function readByLmdb(path: string): Entries {
  const copy = `${path}-copy.mdb`
  // As it is; and, where a page is lost that says where all is, with the other one in its place.
  for (const from of [undefined, 1, 0]) {
    copyFileSync(path, copy)
    truncateSync(copy, Math.ceil(statSync(copy).size / PAGE_BYTES) * PAGE_BYTES * COPY_TIMES)
    if (from !== undefined) copyPage(copy, from, 1 - from)
    const entries = readAll(copy)
    if (entries.size > 0) return entries
  }
  return new Map()
}

function copyPage(path: string, from: number, to: number): void {
  const file = openSync(path, 'r+')
  const page = Buffer.alloc(PAGE_BYTES)
  readSync(file, page, 0, PAGE_BYTES, from * PAGE_BYTES)
  page.writeUInt32LE(to, 0) // its own number
  writeSync(file, page, 0, PAGE_BYTES, to * PAGE_BYTES)
  closeSync(file)
}

type Found = Map<string, Exclude<Line, { trying: number } | { done: true }>>

function readAll(path: string): Entries {
  const found = { references: new Map() as Found, bodies: new Map() as Found }
  for (const table of ['references', 'bodies'] as const) {
    if (read({ path, table, walk: 'forwards' }, found[table]).done) continue
    read({ path, table, walk: 'backwards' }, found[table])
    readEach(path, table, KEYS[table], found[table])
  }
  const entries = new Map<string, number>()
  for (const { key, value } of found.references.values()) {
    const reference = Buffer.from(value ?? '', 'base64')
    const sequence = Array.isArray(key) ? key[1] : 0
    if (!isReference(reference, sequence, 0)) continue
    const { bytes, checksum } = decodeReference(reference)
    const body = found.bodies.get(String(sequence))
    if (body?.bytes === bytes && body.checksum === checksum) entries.set(String(key), checksum)
  }
  return entries
}

/** One process after the other, each behind the key at which the last one died: twice as far each time it dies at once. */
function readEach(path: string, table: Task['table'], keys: readonly Key[], found: Found): void {
  let step = 1
  for (let left = keys.filter((key) => !found.has(String(key))); left.length > 0; ) {
    const { done, tried } = read({ path, table, keys: left }, found)
    if (done || tried < 0) return
    step = tried > 0 ? 1 : 2 * step
    left = left.slice(tried + step)
  }
}

function read(task: Task, found: Found): { readonly done: boolean; readonly tried: number } {
  const { stdout } = spawnSync(process.execPath, [join(import.meta.dirname, 'lmdb-reader.ts')], {
    input: JSON.stringify(task),
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: READER_MS_MAX,
    killSignal: 'SIGKILL',
    maxBuffer: 1e9,
  })
  let tried = -1
  let done = false
  for (const text of stdout.toString().split('\n').slice(0, -1)) {
    const line = JSON.parse(text) as Line
    if ('key' in line) found.set(String(line.key), line)
    else if ('trying' in line) tried = line.trying
    else done = true
  }
  return { done, tried }
}

export function printSalvage(rows: ReadonlyMap<string, SalvageRow>): void {
  const percent = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`.padStart(8)
  for (const [name, { copies, entries, saved, old, wrong, ms }] of rows)
    process.stdout.write(
      `${name.padEnd(32)} ${copies} copies: saved ${percent(saved.ours, entries)}, by LMDB ${percent(saved.lmdb, entries)}; ` +
        `old ${old.ours}, ${old.lmdb}; wrong ${wrong.ours}, ${wrong.lmdb}; ` +
        `${Math.round(ms.ours / copies)} and ${Math.round(ms.lmdb / copies)} ms each\n`,
    )
}
