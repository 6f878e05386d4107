import { renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import t from 'tap'
import { readUsers, UsersFile } from '../../lib/access/users.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { SightlineError } from '../../lib/errors.ts'
import { HttpServer, refuseOpenHttp } from '../../lib/http/server.ts'
import type { Log } from '../../lib/log.ts'
import { cheapHash } from '../kit/passwords.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

function usersFile(t: Test, content: string): string {
  const file = join(temporaryFolder(t), 'users.yaml')
  writeFileSync(file, content)
  return file
}

/** A log that keeps what is said. */
function keptLog() {
  const lines: string[] = []
  const keep = (_fields: object, message: string) => void lines.push(message)
  return { lines, log: { info: keep, error: keep } as unknown as Log }
}

t.test('what is wrong in a users file is named with its line', async (t) => {
  const hash = cheapHash('secret')
  const cases: readonly (readonly [string, RegExp])[] = [
    ['- name: a\n  role: king\n', /:3: "users\.0\.role" must be one of device, bridge/],
    ['- name: a\n  role: device\n', /:3: "users\.0\.role" is "device", which also needs its "site"/],
    ['- name: a b\n  role: device\n  site: s\n', /:2: "users\.0\.name" is not a device name/],
    ['- name: a\n  role: device\n  site: s/t\n', /:4: "users\.0\.site" must be a name/],
    ['- name: a\n  role: device\n  site: "+"\n', /:4: "users\.0\.site" must be a name/],
    ['- name: a\n  role: viewer\n  publish: [x]\n', /:4: "users\.0\.publish" must not be given together/],
    ['- name: a\n  role: admin\n  site: s\n', /:4: "users\.0\.site" is only for/],
    ['- name: a\n', /:2: "users\.0\.name" belongs to a user who has neither a role/],
    ['- name: a\n  publish: [a/#/b]\n', /:3: "users\.0\.publish\.0" must be a topic filter/],
    ['- name: "a\\u001b[2J"\n  role: viewer\n', /:2: "users\.0\.name" must be printable/],
    ['- name: "a:b"\n  role: viewer\n', /:2: "users\.0\.name" must be printable characters, and no colon/],
    ['- name: a\n  role: viewer\n- name: a\n  role: admin\n', /:4: "users\.1\.name" is a duplicate: "a"/],
    ['- name: taken\n  role: viewer\n', /:2: "users\.0\.name" is also in the configuration: "taken"/],
    ['- name: a\n  pasword: x\n', /:3: unknown setting "users\.0\.pasword"/],
    ['- name: a\n  role: viewer\n  password: hunter22\n', /:4: "users\.0\.password" must be a hash/],
    ['- [\n', /:\d: /],
    [`- {name: a, role: viewer, password: ${hash}}\n`, /:2: unknown setting "users\.0\.p=1\$\.\.\.\$\.\.\."/],
  ]
  for (const [content, says] of cases) {
    const file = usersFile(t, `users:\n${content}`)
    t.throws(() => readUsers(file, new Set(['taken'])), { message: says }, content)
    try {
      readUsers(file)
    } catch (error) {
      t.notMatch(String(error), /hunter22|\$[\w+/]{11}/, 'and no secret is repeated')
    }
  }
  t.throws(
    () => readUsers(usersFile(t, '')),
    /"users" is missing/,
    'an emptied file is not one without users',
  )
  t.throws(() => readUsers('/nowhere/users.yaml'), {
    code: 'USERS_NOT_FOUND',
    message: /sightline users add/,
  })
  const fine = readUsers(
    usersFile(t, `topicPrefix: a/b\nusers:\n- {name: a, role: admin, password: "${hash}"}\n`),
  )
  t.match(fine, { topicPrefix: 'a/b', users: [{ name: 'a', role: 'admin', password: hash }] })
})

t.test('a users file is followed: one that broke or went changes nothing, and is said once', async (t) => {
  const file = usersFile(t, 'users: [{name: a, role: viewer}]\n')
  const { lines, log } = keptLog()
  using users = await UsersFile.open({ file, log, pollIntervalMs: 10 })
  const seen: string[][] = []
  users.onChange = (accounts) => void seen.push(accounts.map(({ name }) => name))
  const names = () => users.accounts.map(({ name }) => name)
  writeFileSync(file, 'users:\n- name: a\n  role: king\n')
  await until('it is said', () => lines.length > 0)
  unlinkSync(file)
  await until('it is said', () => lines.length > 1)
  await sleep(60)
  t.equal(lines.length, 2)
  t.match(lines[0], /users\.yaml:3: "users\.0\.role" .*the previous users apply/)
  t.match(lines[1], /Users file .* not found/)
  t.strictSame(names(), ['a'])
  t.strictSame(seen, [])
  writeFileSync(`${file}.new`, 'users: [{name: b, role: viewer}]\n') // as long as it was
  renameSync(`${file}.new`, file)
  await until('it is read', () => seen.length > 0)
  t.strictSame(seen, [['b']])
  t.strictSame(names(), ['b'])
})

/** Two files that "sightline users" wrote, one after the other. */
function writtenOnes(): { old: string; young: string } {
  const user = (name: string) => ({
    name,
    role: 'device' as const,
    site: 'home',
    password: cheapHash(name),
  })
  return { old: usersText(['a', 'b', 'c'].map(user)), young: usersText(['a', 'b', 'd', 'e'].map(user)) }
}

/** Of texts that must be refused, those that are taken. */
function taken(file: string, texts: readonly string[]): string[] {
  return texts.filter((text) => {
    writeFileSync(file, text)
    try {
      readUsers(file)
      return true
    } catch (error) {
      if (error instanceof SightlineError && /^CONFIG_(INVALID|SYNTAX)$/.test(error.code)) return false
      throw error
    }
  })
}

t.test('a users file that is cut, wherever, is none', async (t) => {
  const { young } = writtenOnes()
  const file = usersFile(t, '')
  const whole = young.length - 1 // all but its last line's end
  const cuts = Array.from({ length: whole }, (_, length) => young.slice(0, length))
  t.strictSame(taken(file, cuts), [])
  const border = young.indexOf('  - name: d')
  writeFileSync(file, young.slice(0, border))
  t.throws(() => readUsers(file), {
    code: 'CONFIG_INVALID',
    message: /users\.yaml is incomplete: it must end with the line "\.\.\. # [0-9a-f]+"\. It was cut off/,
  })
  for (const fine of [young, young.slice(0, whole), `${young}\n \n`, young.replaceAll('\n', '\r\n')]) {
    writeFileSync(file, fine)
    t.equal(readUsers(file).users.length, 4)
  }
  writeFileSync(file, young.slice(young.indexOf('users:'), border))
  t.equal(readUsers(file).users.length, 2, 'a file that announces no end is taken as it is')
})

t.test('a users file that is half another one, as a copy in place leaves it, is none', async (t) => {
  const { old, young } = writtenOnes()
  const file = usersFile(t, '')
  const mixed = (from: string, onto: string) =>
    Array.from(from, (_, length) => from.slice(0, length) + onto.slice(length)).filter(
      (text) => ![from, onto].some((one) => one.trimEnd() === text.trimEnd()),
    )
  t.strictSame(taken(file, [...mixed(young, old), ...mixed(old, young)]), [])
})

t.test('a users file that is cut while it is followed sends nobody away', async (t) => {
  const { old, young } = writtenOnes()
  const file = usersFile(t, old)
  const { lines, log } = keptLog()
  using users = await UsersFile.open({ file, log, pollIntervalMs: 10 })
  const seen: number[] = []
  users.onChange = (accounts) => void seen.push(accounts.length)
  /** In one step: whoever looks while a file is written in place looks twice. */
  const put = (text: string) => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  let said = 0
  for (const cut of [
    young.slice(0, young.indexOf('  - name: b')),
    young.slice(0, young.indexOf('\nusers:') + 1),
    '',
    young.slice(0, -4),
    young.slice(0, young.length / 2) + old.slice(young.length / 2),
  ]) {
    put(cut)
    said += 1
    await until('the log says so', () => lines.length === said)
    t.match(lines.at(-1), /Until this is fixed, the previous users apply/)
    t.equal(users.accounts.length, 3)
  }
  t.strictSame(seen, [])
  put(young)
  await until('the whole one is taken', () => seen.length > 0)
  t.strictSame(seen, [4])
  await t.rejects(UsersFile.open({ file: usersFile(t, young.slice(0, -4)), log }), { code: 'CONFIG_INVALID' })
})

t.test('pages over HTTP', async (t) => {
  const file = usersFile(
    t,
    `users:
- {name: eye, role: viewer, password: "${cheapHash('looking')}"}
- {name: boss, role: admin, password: "${cheapHash('ruling')}"}
- {name: camera, role: device, site: home, password: "${cheapHash('filming')}"}
- {name: cert, role: viewer}
- {name: counts, role: analyst, password: "${cheapHash('counting')}"}
- {name: runs, role: operator, password: "${cheapHash('running')}"}
- {name: part, role: viewer, sites: [home], password: "${cheapHash('a part')}"}
- {name: door, role: operator, cameras: [home/pi/door], password: "${cheapHash('a door')}"}
`,
  )
  const open = (settings: object) =>
    HttpServer.open({
      host: '127.0.0.1',
      port: 0,
      log: keptLog().log,
      metrics: new Registry(),
      health: () => ({ ok: true, checks: { broker: 'connected' } }),
      routes: (app) => {
        app.get('/face.jpg', (_request, reply) =>
          reply.header('cache-control', 'public, max-age=9').send('x'),
        )
      },
      ...settings,
    })
  const get = async (server: HttpServer, path: string, login?: string) => {
    const authorization = login === undefined ? [] : [['authorization', `Basic ${btoa(login)}`]]
    const answer = await fetch(server.url + path, { headers: Object.fromEntries(authorization) })
    return { status: answer.status, headers: answer.headers, text: await answer.text() }
  }

  await t.test('without a users file they are as open as they were', async (t) => {
    await using server = await open({})
    t.equal((await get(server, '/metrics')).status, 200)
    t.match((await get(server, '/healthz')).text, 'connected')
    t.equal((await get(server, '/face.jpg')).headers.get('cache-control'), 'public, max-age=9')
  })

  await t.test('with one every route needs a person who sees all sites', async (t) => {
    await using server = await open({ usersFile: file })
    for (const path of ['/metrics', '/face.jpg', '/', '/no/such/page', '/healthz/', '/healthz/../metrics']) {
      const { status, headers } = await get(server, path)
      t.equal(status, 401, path)
      t.match(headers.get('www-authenticate'), /^Basic realm="Sightline"/)
    }
    for (const [login, status] of [
      ['eye:looking', 200],
      ['boss:ruling', 200],
      ['counts:counting', 200],
      ['runs:running', 200],
      ['part:a part', 403],
      ['door:a door', 403],
      ['camera:filming', 403],
      ['eye:ruling', 401],
      ['cert:', 401],
      ['nobody:looking', 401],
    ] as const)
      t.equal((await get(server, '/metrics', login)).status, status, login)
    t.equal((await get(server, '/no/such/page', 'eye:looking')).status, 404)
    const face = await get(server, '/face.jpg', 'eye:looking')
    t.equal(face.headers.get('cache-control'), 'private, max-age=9', 'no proxy keeps it for somebody else')
    t.equal((await get(server, '/metrics', 'eye:looking')).headers.get('cache-control'), 'no-store')
  })

  await t.test('what is allowed to everyone needs no login, and nothing beside it', async (t) => {
    await using server = await open({
      usersFile: file,
      allowed: ({ url }: { url: string }) => url === '/face.jpg?link',
    })
    const face = await get(server, '/face.jpg?link')
    t.match({ status: face.status, text: face.text }, { status: 200, text: 'x' })
    t.equal(face.headers.get('cache-control'), 'public, max-age=9', 'what the route says of it stays')
    t.equal((await get(server, '/face.jpg')).status, 401)
  })

  await t.test('health without a login is a yes or no', async (t) => {
    await using server = await open({ usersFile: file })
    t.strictSame((await get(server, '/healthz')).text, '{"ok":true}')
    t.match((await get(server, '/healthz', 'eye:looking')).text, 'connected')
    t.equal((await get(server, '/healthz', 'eye:guess')).status, 401)
  })

  await t.test(
    'after ten failures the right password does not open either, and others look on',
    async (t) => {
      await using server = await open({ usersFile: file })
      for (let n = 0; n < 10; n += 1) t.equal((await get(server, '/', `eye:guess${n}`)).status, 401)
      const { status, text } = await get(server, '/metrics', 'eye:looking')
      t.equal(status, 429)
      t.match(text, 'Try again in a minute')
      t.equal((await get(server, '/healthz')).status, 200)
    },
  )

  await t.test('a users file that is none stops the start', async (t) => {
    await t.rejects(open({ usersFile: '/nowhere/users.yaml' }), { code: 'USERS_NOT_FOUND' })
  })

  await t.test('beyond this machine only with users and TLS', async (t) => {
    const tls = { certFile: 'c', keyFile: 'k' }
    refuseOpenHttp({ host: '0.0.0.0', usersFile: 'u', tls })
    refuseOpenHttp({ host: '127.0.0.1' })
    for (const half of [{}, { tls }, { usersFile: 'u' }])
      t.throws(() => refuseOpenHttp({ host: '0.0.0.0', ...half }), { code: 'CONFIG_UNSAFE_LISTENER' })
  })
})
