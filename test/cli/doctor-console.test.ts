import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import pg from 'pg'
import t from 'tap'
import { checkDatabase } from '../../commands/doctor/database.ts'
import type { Finding } from '../../commands/doctor/finding.ts'
import { Database } from '../../console/database/database.ts'
import { addUser } from '../../lib/access/users-file.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { freePort } from '../kit/ports.ts'
import { freshPostgres, POSTGRES_URL } from '../kit/postgres.ts'
import { brokerConfig, Program, type Test, temporaryFolder } from '../kit/programs.ts'
import { configFile, type Outcome, sightline } from './sightline.ts'

/** `sightline doctor` and what the console's configuration names. */

const USERS = [
  { name: 'console', role: 'console', password: 'what was seen' },
  { name: 'keeper', role: 'subscriber', password: 'to the bucket' },
]

type Line = Finding & { readonly subject: string }

const linesOf = ({ stdout }: Outcome): Line[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

async function setUp(t: Test) {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud', users: USERS }))
  const folder = temporaryFolder(t)
  const secret = (name: string, text: string) => {
    writeFileSync(join(folder, name), `${text}\n`, { mode: 0o600 })
    return join(folder, name)
  }
  const usersFile = join(folder, 'users.yaml')
  await addUser(usersFile, { name: 'anna', role: 'admin', password: undefined })
  const bucket = join(folder, 'bucket')
  await using written = await FolderBucket.open({ path: bucket })
  await written.create({
    key: 'home/door/hall/2026/11/20/13/a.jpg',
    body: Buffer.from('a face'),
    contentType: 'image/jpeg',
    cacheControl: 'no-cache',
  })
  await written.sync()
  const config = {
    broker: { url: broker.url, username: 'console', passwordFile: secret('console', 'what was seen') },
    inbox: { folder: join(folder, 'inbox'), bytesMax: '10MB' },
    database: { type: 'sqlite', path: join(folder, 'data', 'console.sqlite') },
    bucket: { type: 'folder', path: bucket },
    access: { usersFile },
    http: { port: 0 },
  }
  return { broker, folder, secret, usersFile, bucket, config }
}

t.test("a console's set-up that works is said to, and is as it was afterwards", async (t) => {
  const { broker, folder, config, bucket } = await setUp(t)
  const file = configFile(t, config, 'console.yaml')
  chmodSync(file, 0o600)
  const before = readdirSync(folder, { recursive: true }).sort()
  const said = broker.log.length
  const first = await sightline(t, ['doctor', '--config', file])
  t.match(first, { status: 0, stderr: '' }, first.stdout)
  t.match(first.stdout, /console\.yaml \(console\)$/m)
  t.match(first.stdout, /^ok {4}broker: mqtt:.* as "console": .*SUBACK after \d+ ms$/m)
  t.match(first.stdout, /^ok {4}database .*: does not exist yet: the console makes it$/m)
  t.match(first.stdout, /^ok {4}bucket: folder .*: listed in \d+ ms, an object read in \d+ ms$/m)
  t.match(first.stdout, /^ok {4}users .*: 1 user$/m)
  t.match(first.stdout, /^ok {4}store .*inbox/m)
  t.strictSame(readdirSync(folder, { recursive: true }).sort(), before, 'nothing is made')
  t.strictSame(
    broker.log.slice(said).filter(({ level }) => level > 30),
    [],
    'and the broker has nothing to complain of',
  )

  await (await Database.open({ type: 'sqlite', file: config.database.path }))[Symbol.asyncDispose]()
  chmodSync(bucket, 0o500)
  const second = await sightline(t, ['doctor', '--config', file])
  t.match(second, { status: 0 }, second.stdout)
  t.match(second.stdout, /^ok {4}database .*: readable, .*; schema up to date$/m)
  chmodSync(bucket, 0o700)
})

t.test("each fault of a console's set-up is named, with what to do", async (t) => {
  const { broker, folder, secret, config } = await setUp(t)
  const says = async (
    changes: object,
    ...expected: (readonly [Finding['level'], RegExp, RegExp, RegExp])[]
  ) => {
    const outcome = await sightline(t, [
      'doctor',
      '--json',
      '--config',
      configFile(t, { ...config, ...changes }, 'console.yaml'),
    ])
    const lines = linesOf(outcome)
    for (const [level, what, found, todo] of expected) {
      const line = lines.find((it) => it.level === level && what.test(it.what) && found.test(it.found))
      t.match(line, { found, todo }, `${what}: ${found}`)
      if (level === 'FAIL') t.equal(outcome.status, 1)
    }
  }
  const keeper = { url: broker.url, username: 'keeper', passwordFile: secret('keeper', 'to the bucket') }
  const newer = join(folder, 'newer.sqlite')
  {
    const made = await Database.open({ type: 'sqlite', file: newer })
    await made[Symbol.asyncDispose]()
    const db = new DatabaseSync(newer)
    db.exec("insert into kysely_migration (name, timestamp) values ('9999-of-tomorrow', 'x')")
    db.close()
  }
  writeFileSync(join(folder, 'newer.sqlite.damaged-2026-11-20'), 'x')
  await says(
    {
      broker: keeper,
      publicUrl: 'https://console.example.org',
      database: { type: 'sqlite', path: newer },
      access: {
        usersFile: join(folder, 'nobody.yaml'),
        openId: {
          issuer: 'https://login.example.org',
          clientId: 'sightline',
          clientSecretFile: join(folder, 'none'),
          roles: { staff: 'viewer' },
        },
      },
      bucket: { type: 'folder', path: join(folder, 'not there') },
    },
    ['FAIL', /^broker$/, /denies .* the subscription to sightline\/v1\/stored\/doctor-/, /that right/],
    ['FAIL', /^database /, /newer version/, /Start that version/],
    ['warn', /^database /, /newer\.sqlite\.damaged-2026/, /reindex/],
    ['FAIL', /^users .*nobody\.yaml/, /not found|does not exist|cannot be read/, /\w{3}/],
    ['FAIL', /^password file .*none/, /none/, /\w{3}/],
    ['warn', /^bucket /, /does not exist \(yet\)/, /subscriber makes it.*"bucket\.path"/],
  )
  t.notOk(existsSync(join(folder, 'not there')))
  mkdirSync(join(folder, 'folder.sqlite'))
  const machines = join(folder, 'machines.yaml')
  await addUser(machines, { name: 'door', role: 'device', site: 'home', password: undefined })
  await says(
    {
      database: { type: 'postgres', url: `postgres://console@127.0.0.1:${await freePort()}/sightline` },
      access: { usersFile: machines },
    },
    [
      'FAIL',
      /^database 127\.0\.0\.1:\d+\/sightline/,
      /cannot be reached/,
      /"database\.url", and that the server runs/,
    ],
    ['warn', /^users /, /nobody who may sign in/, /--role admin/],
  )
  await says({ access: {} }, [
    'warn',
    /^users$/,
    /neither "access\.usersFile" nor "access\.openId"/,
    /Nobody can sign in/,
  ])
})

t.test(
  'a PostgreSQL is reached as the console does: version, rights, schema; nothing in it is changed',
  { skip: POSTGRES_URL === undefined && 'SIGHTLINE_TEST_POSTGRES names no PostgreSQL' },
  async (t) => {
    const address = await freshPostgres(t)
    const guest = `guest_${process.pid}`
    const client = new pg.Client({ connectionString: address })
    await client.connect()
    t.teardown(() => client.end())
    const url = new URL(address)
    const password = decodeURIComponent(url.password)
    url.password = ''
    const config = {
      type: 'postgres',
      url: url.href,
      connectionsMax: 8,
      queryTimeout: 10_000,
      password,
    } as const
    const [fresh, ...more] = await checkDatabase(config)
    t.match(fresh, { level: 'ok', found: /^PostgreSQL \d+.* answers in \d+ ms; \d+ changes? of its schema/ })
    t.strictSame(more, [])
    t.equal((await client.query("select 1 from pg_tables where schemaname = 'public'")).rowCount, 0)

    await (await Database.open({ type: 'postgres', url: url.href, password }))[Symbol.asyncDispose]()
    t.match(await checkDatabase(config), [{ level: 'ok', found: /schema up to date/ }])
    await client.query(
      `create role ${guest} login password 'a %&/ b'; grant select on kysely_migration to ${guest}`,
    )
    t.teardown(() => client.query(`drop owned by ${guest}; drop role ${guest}`))
    url.username = guest
    const asGuest = { ...config, url: url.href, password: 'a %&/ b' }
    const findings = await checkDatabase(asGuest)
    const failures = findings.filter(({ level }) => level === 'FAIL').map(({ found }) => found)
    t.equal(failures.length, 4)
    for (const found of failures) t.match(found, /may not read and write the table/)
    t.match(await checkDatabase({ ...asGuest, password: 'wrong' }), [
      { level: 'FAIL', found: /refuses the user/ },
    ])
  },
)
