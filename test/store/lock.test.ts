import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { FolderLock, holderOf, isHeld } from '../../store/lock.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { SmallDisk } from '../kit/small-disk.ts'
import { until } from '../kit/wait.ts'

interface Holder {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly errors: string[]
}

/** A process that opens a store in a folder: "open" is its first line, or why it cannot. */
function hold(t: Test, folder: string, ...under: string[]): Holder {
  const file = join(import.meta.dirname, 'hold-store.ts')
  const [command, ...args] = [...under, process.execPath, file, folder, 'hold']
  const child = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => void child.kill('SIGKILL'))
  const lines: string[] = []
  const errors: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  createInterface({ input: child.stderr }).on('line', (line) => errors.push(line))
  return { child, lines, errors }
}

async function said({ child, lines, errors }: Holder): Promise<string> {
  await until('it says something', () => lines.length > 0 || child.exitCode !== null, 30_000)
  return lines[0] ?? errors.join('\n')
}

async function kill({ child }: Holder): Promise<void> {
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}

t.test('a second process is refused and told who holds the store; kill -9 ends the lock', async (t) => {
  const folder = temporaryFolder(t)
  const first = hold(t, folder)
  t.equal(await said(first), 'open')
  t.equal(isHeld(folder), true)
  t.equal(holderOf(folder), `process ${first.child.pid}`)
  t.throws(() => FolderLock.take(folder), {
    code: 'STORE_LOCKED',
    message: `${folder} is in use by process ${first.child.pid}. Stop that program first, or give this one its own folder.`,
  })
  await kill(first)
  t.strictSame(
    readdirSync(folder).filter((file) => file.startsWith('store.lock')),
    ['store.lock'],
    'and leaves no journal',
  )
  t.equal(isHeld(folder), false)
  t.equal(holderOf(folder), undefined)
  using _lock = FolderLock.take(folder)
  t.strictSame(first.errors, [], 'and SQLite is not heard of')
})

const ownNumbers = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL'] as const
const noNamespaces =
  spawnSync(ownNumbers[0], [...ownNumbers.slice(1), 'true']).status === 0
    ? false
    : 'process numbers of its own take root on Linux, which this is not'

t.test(
  'it holds between containers, where process numbers say nothing',
  { skip: noNamespaces },
  async (t) => {
    const folder = temporaryFolder(t)
    const first = hold(t, folder, ...ownNumbers)
    t.equal(await said(first), 'open')
    const inside = JSON.parse(readFileSync(join(folder, 'lock'), 'utf8')) as { pid: number }
    t.equal(inside.pid, 1)
    const message = `STORE_LOCKED: ${folder} is in use by process 1 in another container or on another machine (host name ${hostname()}). Stop that program first, or give this one its own folder.`
    t.equal(await said(hold(t, folder)), message, 'outside')
    t.equal(
      await said(hold(t, folder, ...ownNumbers)),
      message,
      'in a container where it has that number itself',
    )
    await kill(first)
    t.equal(await said(hold(t, folder, ...ownNumbers)), 'open', 'once it is gone')
  },
)

t.test('of several that start at once one gets it', async (t) => {
  const folder = temporaryFolder(t)
  const answers = await Promise.all(Array.from({ length: 4 }, () => said(hold(t, folder))))
  t.equal(answers.filter((answer) => answer === 'open').length, 1, answers.join('\n'))
  t.equal(answers.filter((answer) => answer.startsWith('STORE_LOCKED: ')).length, 3)
})

t.test('a second lock in the same process is refused too, and looking does not end the first', async (t) => {
  const folder = temporaryFolder(t)
  const linked = join(temporaryFolder(t), 'link')
  symlinkSync(folder, linked)
  const lock = FolderLock.take(folder)
  for (const path of [folder, linked]) {
    t.throws(() => FolderLock.take(path), {
      code: 'STORE_LOCKED',
      message: new RegExp(`process ${process.pid}\\.`),
    })
    t.equal(isHeld(path), true)
  }
  t.match(await said(hold(t, linked)), /^STORE_LOCKED/)
  lock[Symbol.dispose]()
  t.equal(isHeld(folder), false)
  t.strictSame(readdirSync(folder), ['store.lock'], 'what stays is empty, and holds nothing')
  t.equal(statSync(join(folder, 'store.lock')).size, 0)
  using _again = FolderLock.take(linked)
})

t.test('who looks whether it is held does not keep out who takes it', async (t) => {
  const folder = temporaryFolder(t)
  FolderLock.take(folder)[Symbol.dispose]()
  const look = `import { isHeld } from ${JSON.stringify(join(import.meta.dirname, '../../store/lock.ts'))}
    console.log('looking'); for (;;) isHeld(${JSON.stringify(folder)})`
  const looker = spawn(process.execPath, ['--input-type=module-typescript', '-e', look], { stdio: 'pipe' })
  t.after(() => void looker.kill('SIGKILL'))
  await once(looker.stdout, 'data')
  for (let n = 0; n < 50; n += 1) FolderLock.take(folder)[Symbol.dispose]()
  t.equal(looker.exitCode, null)
})

t.test('what an earlier holder wrote holds nothing, whoever has its process number now', async (t) => {
  const folder = temporaryFolder(t)
  for (const left of [
    JSON.stringify({ pid: process.ppid, host: hostname() }),
    JSON.stringify({ pid: process.ppid, startedAt: 'of an older version' }),
    '{"pi', // torn by a power cut
    '',
  ]) {
    writeFileSync(join(folder, 'lock'), left)
    t.equal(holderOf(folder), undefined)
    using _lock = FolderLock.take(folder)
    t.equal(holderOf(folder), `process ${process.pid}`)
  }
})

const disk = SmallDisk.open(1024 * 1024)
t.teardown(() => typeof disk !== 'string' && disk[Symbol.dispose]())

t.test(
  'on a disk full to the last byte it holds all the same',
  { skip: typeof disk === 'string' ? disk : false },
  async (t) => {
    if (typeof disk === 'string') return
    const folder = join(disk.path, 'store')
    mkdirSync(folder)
    disk.fill()
    using _lock = FolderLock.take(folder)
    disk.fill()
    t.throws(() => FolderLock.take(folder), { code: 'STORE_LOCKED', message: /in use by another program\./ })
    t.match(await said(hold(t, folder)), /^STORE_LOCKED/)
  },
)

t.test('a folder that cannot be locked says so', async (t) => {
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'a', 'store.lock'), { recursive: true })
  const long = join(folder, ...Array(5).fill('x'.repeat(120)))
  mkdirSync(long, { recursive: true })
  for (const path of [join(folder, 'a'), join(folder, 'nowhere'), long]) {
    t.throws(() => FolderLock.take(path), {
      code: 'FOLDER_UNWRITABLE',
      message: /^Cannot lock .*store\.lock: /,
    })
    t.equal(isHeld(path), false)
  }
})

const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] as const
const notRoot =
  spawnSync(asNobody[0], [...asNobody.slice(1), 'true']).status === 0
    ? false
    : 'becoming another user takes root on Linux'

t.test('a lock that this user may only read is none', { skip: notRoot }, async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'store.lock'), '')
  chmodSync(join(folder, 'store.lock'), 0o444)
  chmodSync(folder, 0o777)
  t.match(await said(hold(t, folder, ...asNobody)), /^FOLDER_UNWRITABLE: Cannot lock .*permission denied/)
  t.notOk(existsSync(join(folder, 'store.mdb')), 'before anything is written')
})

t.test('nobody else may hold it: the file is for its owner alone', async (t) => {
  const folder = temporaryFolder(t)
  using _lock = FolderLock.take(folder)
  t.equal(statSync(join(folder, 'store.lock')).mode & 0o777, 0o600)
})
