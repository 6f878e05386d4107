import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { Store } from '../../store/store.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { configFile } from './sightline.ts'

/** `sightline ... | head -1`, and `2>&1 | head -1`: no stack trace, no other status, nothing half done. */

const ROOT = resolve(import.meta.dirname, '..', '..')
const END_MS_MAX = 20_000

/** Started with nobody who reads what it says. */
function start(t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const own = Object.entries(process.env).filter(([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP)/.test(name))
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'sightline.js'), ...args], {
    cwd: ROOT,
    env: { ...Object.fromEntries(own), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdout?.destroy()
  return child
}

async function end(child: ChildProcess): Promise<{ status: number | null; stderr: string }> {
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX)
  const [text] = await Promise.all([(child.stderr as Readable).toArray(), once(child, 'close')])
  clearTimeout(timer)
  return { status: child.exitCode, stderr: Buffer.concat(text).toString() }
}

t.test('a command whose reader has gone ends as ever, and says nothing', async (t) => {
  const folder = temporaryFolder(t)
  const store = await Store.open({ folder: join(folder, 'store') })
  store.queue('inbox', { entriesMax: 1, bytesMax: 1, ageMsMax: 1, whenFull: 'reject' })
  await store[Symbol.asyncDispose]()
  const users = join(folder, 'users.yaml')
  writeFileSync(users, 'users:\n  - {name: ann, role: viewer}\n')
  const photos = join(folder, 'none.jpg')
  writeFileSync(photos, 'none')
  const commands = [
    ['--help'],
    ['--version'],
    ['queue', '--help'],
    ['queue', 'stats', join(folder, 'store')],
    ['queue', 'ls', join(folder, 'store'), 'inbox'],
    ['quarantine', 'list', join(folder, 'store')],
    ['models', 'list'],
    ['users', 'list', users],
    ['config', 'check', join(ROOT, 'conf', 'device.yaml')],
    [
      'doctor',
      '--config',
      configFile(t, {
        store: { folder: join(folder, 'store') },
        http: { port: 0 },
        listeners: [{ port: 0 }],
      }),
    ],
  ]
  // Three at a time: each waits for its start.
  const left = commands.values()
  const some = async () => {
    for (const args of left)
      t.strictSame(await end(start(t, args)), { status: 0, stderr: '' }, args.slice(0, 2).join(' '))
  }
  await Promise.all([some(), some(), some()])
})

t.test('what changes something is done to its end', async (t) => {
  const folder = temporaryFolder(t)
  const made = start(t, ['certs', 'ca', join(folder, 'pki'), '--name', 'Home'])
  t.match(await end(made), { status: 0 })
  t.ok(existsSync(join(folder, 'pki', 'ca.key')))
  const pair = start(t, ['certs', 'server', join(folder, 'pki'), 'broker', '--host', 'localhost'])
  t.match(await end(pair), { status: 0 })
  t.ok(readdirSync(join(folder, 'pki')).includes('broker.key'))
})

t.test('one that goes on for ever ends', async (t) => {
  const child = start(t, ['preview', '--source', 'testcard', '--port', '0'])
  const { status, stderr } = await end(child)
  t.equal(status, 0, stderr)
  t.notMatch(stderr, /\n {4}at /)
})

t.test('a program whose log nobody reads any more stays, and drains when it is told to', async (t) => {
  const folder = temporaryFolder(t)
  const file = configFile(t, {
    listeners: [{ port: 0 }],
    http: { port: 0 },
    store: { folder },
    log: { level: 'debug' },
  })
  const child = start(t, ['broker', '--config', file])
  child.stderr?.destroy()
  await until('it has its store', async () => existsSync(join(folder, 'control.sock')))
  child.kill('SIGTERM')
  await once(child, 'exit')
  t.equal(child.exitCode, 0)
})
