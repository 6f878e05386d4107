import { createHash } from 'node:crypto'
import t from 'tap'
import type { StreamKey, Streams } from '../../console/api/stream-keys.ts'
import { STREAM_KEY_PATTERN } from '../../wire/stream.ts'
import { type ApiServer, apiServer, NORTH, stateOf } from './api-server.ts'

const json = { 'content-type': 'application/json' }
const send = (server: ApiServer, method: string, path: string, user: string, body?: object) =>
  server.get(path, user, {
    method,
    ...(body && { headers: json, body: JSON.stringify(body) }),
  })

const PHONE = { ...NORTH, camera: 'phone' }

t.test('a key is made for one camera, told once, and kept nowhere', async (t) => {
  const server = await apiServer(t)
  const answer = await send(server, 'POST', '/streams', 'anna', PHONE)
  t.equal(answer.status, 201)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  const { key, stream, isConfirmed } = (await answer.json()) as StreamKey
  t.match(key, STREAM_KEY_PATTERN)
  t.match({ stream, isConfirmed }, { stream: { ...PHONE, owner: 'anna', isOwn: true }, isConfirmed: true })
  const keyHash = createHash('sha256').update(key).digest('hex')
  t.match(server.line.changes, [{ camera: PHONE, change: { do: 'add', keyHash, owner: 'anna' } }])
  const entries = await server.access.audit.page({ action: 'stream.add' }, undefined, 10)
  t.match(entries, [{ user: 'anna', subject: 'north/pi/phone' }])
  t.notMatch(JSON.stringify(entries), key)
  t.notMatch(JSON.stringify(entries), keyHash)

  t.equal((await send(server, 'POST', '/streams', 'anna', NORTH)).status, 409, 'a camera has that name')
  t.equal((await send(server, 'POST', '/streams', 'vera', PHONE)).status, 403)
  const south = { site: 'south', device: 'spare', camera: 'phone' }
  t.equal((await send(server, 'POST', '/streams', 'nora', south)).status, 404, 'out of her scope')
  t.equal((await send(server, 'POST', '/streams', 'anna', { ...PHONE, owner: 'otto' })).status, 403)
  t.equal((await send(server, 'POST', '/streams', 'ada', { ...PHONE, device: 'none' })).status, 404)
  t.equal((await send(server, 'POST', '/streams', 'ada', { ...south, device: 'pi' })).status, 409, 'offline')
})

t.test('analysts manage their own streams, operators all of their scope', async (t) => {
  const server = await apiServer(t)
  const streamOf = (owner: string) => ({
    owner,
    active: true,
    takeOver: false,
    lastUsedMs: 5,
    from: '192.0.2.1',
    live: null,
  })
  const seen = (camera: string, owner: string, site = 'north') => {
    const address = { site, device: 'pi', camera }
    const state = stateOf(address, { state: 'waiting', stream: streamOf(owner) })
    return { ...address, state, stateAtMs: 1, is: 'waiting' as const }
  }
  server.fleet.cameras = [seen('mine', 'anna'), seen('his', 'otto'), seen('far', 'otto', 'south')]
  const listed = async (user: string) =>
    (await server.json<Streams>('/streams', user)).items.map(({ camera }) => camera)
  t.strictSame(await listed('anna'), ['mine'])
  t.strictSame(await listed('otto'), ['his', 'mine', 'far'])
  t.strictSame(await listed('nora'), ['his', 'mine'])

  for (const [method, rest, body] of [
    ['POST', '/key'],
    ['PATCH', '', { active: false }],
    ['DELETE', ''],
  ] as const) {
    t.equal((await send(server, method, `/streams/north/pi/his${rest}`, 'anna', body)).status, 404)
    t.equal((await send(server, method, `/streams/south/pi/far${rest}`, 'nora', body)).status, 404)
    t.ok((await send(server, method, `/streams/north/pi/mine${rest}`, 'anna', body)).ok)
  }
  t.strictSame(
    server.line.changes.map(({ camera, change }) => `${camera.camera} ${change.do}`),
    ['mine rotate', 'mine deactivate', 'mine remove'],
  )
  const camera = await (await server.get('/cameras/north/pi/mine', 'vera')).text()
  t.notMatch(camera, '192.0.2.1', 'from where somebody publishes is for who manages it')
})

t.test('what is recorded, and what viewers see, is for who has the right to recordings', async (t) => {
  const server = await apiServer(t)
  server.line.answer = (address) => stateOf(address, { effect: 'pixelate' })
  const command = (user: string, name: string, value: string) =>
    send(server, 'POST', '/cameras/north/pi/gate/commands', user, { command: name, value })
  t.match(await (await command('otto', 'effect', 'pixelate')).json(), { state: { effect: 'pixelate' } })
  t.equal((await command('otto', 'record', 'always')).status, 200)
  t.equal((await command('otto', 'record', 'sometimes')).status, 400)
  t.equal((await command('anna', 'record', 'off')).status, 403)
  t.strictSame(server.line.commands, ['north/pi/gate effect pixelate', 'north/pi/gate record always'])
  for (const user of ['vera', 'anna'])
    t.equal((await server.get('/cameras/north/pi/gate/original.mjpg', user)).status, 403)
})
