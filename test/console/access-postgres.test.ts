import t from 'tap'
import { freshPostgres, POSTGRES_URL } from '../kit/postgres.ts'
import { accessServer, problemIn } from './access-server.ts'
import { NORTH } from './api-server.ts'

const skip = POSTGRES_URL ? false : 'SIGHTLINE_TEST_POSTGRES is not set'

t.test('sessions, tokens, shares and the audit log are the same on PostgreSQL', { skip }, async (t) => {
  const server = await accessServer(t, {
    postgres: await freshPostgres(t),
    access: { sessionIdleMax: '1h' },
  })
  const { access, url } = server
  const [face] = await server.store(NORTH)
  const ada = await server.signIn('ada')
  const anna = await server.signIn('anna')
  for (let more = 0; more < 55; more += 1) await access.sessions.start('otto', 'password', 'x')
  const kept = await server.database.read.selectFrom('sessions').select('user').execute()
  t.equal(kept.filter(({ user }) => user === 'otto').length, 50, 'of one user so many at most')

  const made = await anna.send('POST', '/api/v1/tokens', { name: 'x', rights: ['see'], expiresInS: 60 })
  const { token, secret } = (await made.json()) as { token: { id: string }; secret: string }
  const bearer = { headers: { authorization: `Bearer ${secret}` } }
  t.equal((await fetch(`${url}/api/v1/detections/${face?.id}`, bearer)).status, 200)
  const body = { name: 'x', detection: face?.id, expiresInS: 3600 }
  const { address } = (await (await anna.send('POST', '/api/v1/shares', body)).json()) as { address: string }
  t.equal((await fetch(url + address)).status, 200)
  t.equal((await fetch(`${url}${address}/picture/${face?.id}.jpg`)).status, 200)
  const [share] = await access.shares.list('anna')
  t.match(share, { views: 1, name: 'x' })
  t.type(share?.viewedAtMs, 'number')

  t.equal((await ada.send('DELETE', `/api/v1/tokens/${token.id}`)).status, 204)
  t.equal((await fetch(`${url}/api/v1/me`, bearer)).status, 401)
  t.equal((await ada.send('DELETE', '/api/v1/users/anna')).status, 204)
  t.equal((await fetch(url + address)).status, 404)
  t.equal(await problemIn(await anna.get('/api/v1/me')), '401 NOT_SIGNED_IN')
  const entries = await access.audit.page({}, undefined, 10)
  t.strictSame(
    entries.map(({ action }) => action),
    ['user.remove', 'token.revoke', 'share.create', 'token.create', 'sign-in', 'sign-in'],
  )
  const after = await access.audit.page({}, entries[3]?.id, 10)
  t.equal(after.length, 2)
  await t.rejects(server.database.write.deleteFrom('audit').execute())

  const person = { name: 'ada@example.org', issuer: 'https://id.example.org', subject: '1' }
  let forgotten = 0
  const remember = async (more: object) => {
    const told = { ...person, role: 'admin', sites: undefined, ...more } as const
    await access.people.rememberOpenId(told, async () => {
      forgotten += 1
    })
    return forgotten
  }
  t.equal(await remember({}), 0)
  t.equal(await remember({ role: 'viewer' }), 0)
  t.equal(await remember({ subject: '2' }), 1)
  server.wait(2 * 3_600_000)
  t.equal((await ada.get('/api/v1/me')).status, 401)
})
