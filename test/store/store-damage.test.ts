import { type ChildProcess, spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { open as openLmdb } from 'lmdb'
import t from 'tap'
import { readContents } from '../../store/check.ts'
import {
  BIG,
  LmdbFile,
  nodeAt,
  nodeCount,
  nodeFlags,
  runAt,
  valueAt,
  valueBytes,
} from '../../store/lmdb-file.ts'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import { StoreView } from '../../store/view.ts'
import { DAMAGES, damage } from '../kit/damage.ts'
import { LIVED_QUEUES, makeLivedStore } from '../kit/lived-store.ts'
import { missing, type Test, temporaryFolder } from '../kit/programs.ts'
import { seeded } from '../kit/wait.ts'
import type { Stock } from './open-damaged.ts'

const SEED = 11
/** A hundred take a minute. */
const COPIES_PER_DAMAGE = Number(process.env.SIGHTLINE_TEST_DAMAGED_COPIES ?? 2)
const BOUNDS: QueueBounds = {
  entriesMax: Infinity,
  bytesMax: Infinity,
  ageMsMax: Infinity,
  whenFull: 'reject',
}

interface Origin {
  readonly file: string
  /** The same store, a while before. */
  readonly older: string
  /** What pends in each queue, by sequence number: where all of it lies in the file. */
  readonly pending: ReadonlyMap<string, ReadonlyMap<number, readonly Span[]>>
  /** Checksum of each message that there ever was. */
  readonly checksums: ReadonlyMap<number, number>
}

type Span = readonly [at: number, bytes: number]

async function origin(t: Test): Promise<Origin> {
  const folder = temporaryFolder(t)
  const file = join(folder, 'store.mdb')
  const older = join(temporaryFolder(t), 'older.mdb')
  const checksums = await makeLivedStore(folder, older, seeded(SEED))
  using reader = LmdbFile.open(file) as LmdbFile
  const contents = readContents(reader, reader.snapshots()[0] as never)
  const pending = new Map<string, Map<number, Span[]>>(LIVED_QUEUES.map((name) => [name, new Map()]))
  contents.references.sequences.forEach((sequence, n) => {
    const body = contents.bodies.places[contents.bodies.find(sequence)] as number
    const reference = contents.references.places[n] as number
    const name = contents.names.get(contents.references.queues[n] as number) ?? ''
    pending.get(name)?.set(sequence, [...spans(reader, reference), ...spans(reader, body)])
  })
  return { file, older, pending, checksums }
}

/** Where a node lies in the file, and its place in the list of nodes, and its value. */
function spans(file: LmdbFile, place: number): Span[] {
  const number = Math.floor(place / 65_536)
  const at = place % 65_536
  const page = file.page(number) as Buffer
  const start = number * file.pageBytes
  const big = nodeFlags(page, at) & BIG
  const found: Span[] = [[start + at, valueAt(page, at) - at + (big ? 24 : valueBytes(page, at))]]
  for (let n = 0; n < nodeCount(page); n += 1) if (nodeAt(page, n) === at) found.push([start + 24 + 2 * n, 2])
  if (big) found.push([runAt(page, at).first * file.pageBytes + 24, valueBytes(page, at)])
  return found
}

/** Opens stores in a process of its own, which has to live. */
class Opener {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(t: Test) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'open-damaged.ts')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.after(() => void child.kill('SIGKILL'))
    this.#child = child
    this.#lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  }

  async open(folder: string): Promise<Stock> {
    this.#child.stdin?.write(`${folder}\n`)
    const line = await this.#lines.next()
    if (line.done) throw new Error(`it ended the process (${this.#child.signalCode ?? this.#child.exitCode})`)
    return JSON.parse(line.value) as Stock
  }
}

t.test(
  'what can be read of a damaged store comes back, whole; the rest is counted, and the damaged file kept',
  async (t) => {
    const { file, older, pending, checksums } = await origin(t)
    const original = readFileSync(file)
    const opener = new Opener(t)
    const base = temporaryFolder(t)
    let copies = 0
    for (const [how, act] of Object.entries(DAMAGES)) {
      const isOld = how === 'old pages mixed in'
      const wrong: string[] = []
      let salvaged = 0
      let entries = 0
      let lostOf = 0
      for (let copy = 0; copy < COPIES_PER_DAMAGE; copy += 1) {
        copies += 1
        const folder = join(base, String(copies))
        const path = join(folder, 'store.mdb')
        mkdirSync(folder)
        cpSync(file, path)
        damage(path, act, { random: seeded(SEED * 1000 + copies), older })
        const damaged = readFileSync(path)
        const say = (what: string) => wrong.push(`copy ${copies}: ${what}`)
        const { code, message, salvage, queues = {}, faults = [] } = await opener.open(folder)
        if (code !== undefined) say(`${code} ${message}`)
        for (const fault of faults) say(fault)
        if (salvage) {
          salvaged += 1
          // One that was cut short may have got its length back, in zeros.
          if (!readFileSync(salvage.movedTo).subarray(0, damaged.length).equals(damaged))
            say('the file is not kept')
        }
        const inOtherQueues = new Set(
          Object.entries(queues)
            .filter(([name]) => name.startsWith('salvaged/'))
            .flatMap(([, queue]) => Object.keys(queue.entries)),
        )
        for (const [name, were] of pending) {
          const queue = queues[name]
          const read = queue?.entries ?? {}
          for (const [sequence, checksum] of Object.entries(read))
            if (checksums.get(Number(sequence)) !== checksum) say(`${name} ${sequence} was changed`)
          const lost = [...were].filter(([sequence]) => !(sequence in read))
          entries += were.size
          lostOf += lost.length
          for (const [sequence, parts] of lost) {
            const isThere = parts.every(
              ([at, bytes]) =>
                at + bytes <= damaged.length &&
                original.compare(damaged, at, at + bytes, at, at + bytes) === 0,
            )
            if (isThere && !inOtherQueues.has(String(sequence)))
              say(`${name} ${sequence} could have been read`)
          }
          if (!queue) {
            if (code === undefined && !salvage?.isListLost) say(`${name} is gone, and nothing says so`)
            continue
          }
          if (missing(queue.books) !== 0) say(`the books of ${name} do not balance`)
          const { unreadable = 0 } = queue.books.dropped
          // Old books, or none, cannot know how many there were since.
          if (!isOld && !salvage?.booksLost.includes(name) && unreadable < lost.length)
            say(`${name} lost ${lost.length} and says ${unreadable}`)
        }
        rmSync(folder, { recursive: true })
      }
      t.strictSame(
        wrong.slice(0, 10),
        [],
        `${how}: ${salvaged} of ${COPIES_PER_DAMAGE} rebuilt, ${lostOf} of ${entries} entries lost`,
      )
    }
  },
)

/** As version 1 wrote it, past our own code. */
async function versionOne(folder: string): Promise<void> {
  const root = openLmdb({
    path: join(folder, 'store.mdb'),
    encoding: 'binary',
    maxDbs: 8,
    overlappingSync: false,
  })
  const bodies = root.openDB<Buffer, number>('bodies', { encoding: 'binary' })
  const references = root.openDB<Buffer, [number, number]>('references', { encoding: 'binary' })
  const queues = root.openDB('queues', { encoding: 'json' })
  const tables = root.openDB<Buffer, [string, string]>('tables', { encoding: 'binary' })
  root.transactionSync(() => {
    for (let n = 1; n <= 200; n += 1) {
      const start = Buffer.alloc(13)
      start.writeDoubleBE(1.7e12 + n, 0)
      start.writeUInt32BE(30 * n, 8)
      start.writeUInt8(4, 12)
      bodies.putSync(n, Buffer.alloc(30 * n, `${n} `))
      references.putSync([1, n], Buffer.concat([start, Buffer.from(`k${n}`.padEnd(4)), Buffer.from(`h${n}`)]))
    }
    queues.putSync('q', { id: 1, accepted: 210, forwarded: 10, dropped: {} })
    tables.putSync(['table', 'key'], Buffer.from('value'))
    root.putSync('version', Buffer.from('1'))
    root.putSync('sequence', Buffer.from('200'))
  })
  await root.close()
}

for (const isDamaged of [false, true])
  t.test(`a store of version 1 is brought forward${isDamaged ? ', damaged as it is' : ''}`, async (t) => {
    const folder = temporaryFolder(t)
    await versionOne(folder)
    if (isDamaged)
      damage(join(folder, 'store.mdb'), DAMAGES['one page that says where all is'] as never, {
        random: seeded(3),
      })
    for (const start of [1, 2]) {
      await using store = await Store.open({ folder })
      t.equal(store.salvage !== undefined, isDamaged)
      const queue = store.queue('q', BOUNDS)
      t.equal(missing(queue.books), 0)
      t.equal(queue.size, 199 + start)
      t.equal(Buffer.from(store.get('table', 'key') ?? '').toString(), 'value')
      for (let n = 1; n <= 200; n += 1) {
        const { header, body } = queue.read(n) ?? {}
        if (header?.toString() !== `h${n}` || !body?.equals(Buffer.alloc(30 * n, `${n} `)))
          t.fail(`entry ${n}`)
      }
      t.ok(queue.has('k77 '))
      await store.accept({ header: Buffer.from('new'), body: Buffer.from('new') }, [queue])
    }
  })

t.test(
  'a program that is killed while it saves what can be read begins anew, or ends what it began',
  async (t) => {
    const { file, pending } = await origin(t)
    const count = [...pending.values()].reduce((sum, were) => sum + were.size, 0)
    const folder = temporaryFolder(t)
    const path = join(folder, 'store.mdb')
    cpSync(file, path)
    damage(path, DAMAGES['one page that says where all is'] as never, { random: seeded(1) })
    writeFileSync(`${path}.new`, readFileSync(path).subarray(0, 50_000))
    const read = async () => {
      await using store = await Store.open({ folder })
      t.equal(
        [...store.queues.values()].reduce((sum, { size }) => sum + size, 0),
        count,
      )
      t.match(store.salvage, { entriesRead: count, entriesLost: 0, booksLost: [] })
      return store.salvage?.movedTo ?? ''
    }
    const movedTo = await read()
    t.strictSame(readdirSync(folder).sort(), [
      'reserve',
      'store.lock',
      'store.mdb',
      'store.mdb-lock',
      movedTo.slice(folder.length + 1),
    ])
    renameSync(path, `${path}.new`) // the damaged one was moved aside, and the new one not yet put in its place
    t.equal(await read(), movedTo)
    t.ok(existsSync(path))
    rmSync(movedTo)
    await using store = await Store.open({ folder })
    t.equal(store.salvage, undefined, 'once the damaged file is deleted, nothing is said of it')
  },
)

t.test('a store can be looked at, sound or damaged, and nothing is written', async (t) => {
  const { file, pending } = await origin(t)
  const folder = temporaryFolder(t)
  const path = join(folder, 'store.mdb')
  const all = LIVED_QUEUES.map((name) => pending.get(name)?.size)
  for (const how of [undefined, 'both pages that say where all is', 'cut short'] as const) {
    cpSync(file, path)
    if (how) damage(path, DAMAGES[how] as never, { random: seeded(5) })
    const before = readFileSync(path)
    await using view = StoreView.open(folder)
    const seen = view.queues().map(({ name }) => [...(view.entries(name) ?? [])].length)
    t.equal(view.faultCount > 0, how !== undefined)
    if (how !== 'cut short') t.strictSame(seen, all, how ?? 'sound')
    t.ok(readFileSync(path).equals(before))
    t.strictSame(readdirSync(folder), ['store.mdb'])
  }
})
