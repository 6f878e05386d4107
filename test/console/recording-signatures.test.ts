import { join } from 'node:path'
import t from 'tap'
import type { RecordingChain, RecordingVerified } from '../../console/api/signatures.ts'
import { Database } from '../../console/database/database.ts'
import { reconcile } from '../../console/reconcile.ts'
import { reindex } from '../../console/reindex.ts'
import { readClip } from '../../wire/clip.ts'
import { keepKey } from '../../wire/keep.ts'
import { openAuthority } from '../kit/certificates.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { makeRealClips } from '../kit/real-clips.ts'
import { openSeal, type SignedFile, signedRun } from '../kit/signed.ts'
import { apiServer, NORTH, type Recorded } from './api-server.ts'

/** Within the time that certificates made now are valid. */
const T0 = Math.ceil(Date.now() / 1000) * 1000
const GATE = 'north/pi/gate'

const recordedOf = ({ payload }: SignedFile): Recorded => {
  const reading = readClip(payload)
  if (!('clip' in reading)) throw new Error(reading.detail)
  return { metadata: reading.clip, payload }
}

t.test('a stretch is whole, or something was cut out of it, or changed: and that is said', async (t) => {
  const authority = await openAuthority(t)
  const seal = openSeal(t, await authority.signer('north/pi'), 'north/pi')
  const server = await apiServer(t, { recordings: { signersFolder: authority.folder } })
  const clips = signedRun(seal, 5, { ...NORTH, capturedAtMs: T0 }).map(recordedOf)
  const stored = await server.record(...clips)
  const chain = () =>
    server.json<RecordingChain>(`/recordings/chain?camera=${GATE}&from=${T0}&to=${T0 + 60_000}`)
  const verify = async (user = 'ada') => {
    const answer = await server.get('/recordings/verify', user, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ camera: GATE, fromMs: T0, toMs: T0 + 60_000 }),
    })
    return { status: answer.status, body: (await answer.json()) as RecordingVerified }
  }
  t.match(await chain(), {
    chunks: 5,
    signed: 5,
    isUnbroken: true,
    signers: [{ device: 'north/pi', chunks: 5 }],
  })
  const whole = await verify()
  t.equal(whole.status, 200)
  t.match(whole.body, { isRight: true, chunks: 5, wrong: { length: 0 } })
  t.equal((await verify('vera')).status, 403)

  const third = stored[2]
  if (!third) throw new Error('no third')
  const payload = clips[2]?.payload ?? Buffer.alloc(0)
  const tampered = Buffer.from(payload)
  const at = payload.indexOf('mdat') + 100
  tampered.writeUInt8(tampered.readUInt8(at) ^ 1, at)
  const put = async (body: Buffer) => {
    await server.bucket.remove([third.key])
    await server.bucket.create({ key: third.key, body, contentType: '', cacheControl: '' })
  }
  await put(tampered)
  t.match(await verify(), { body: { isRight: false, wrong: [{ id: third.id }] } }, 'one bit')
  t.match(await chain(), { isUnbroken: true }, 'which only a look at the bytes finds')
  await put(payload)
  t.match(await verify(), { body: { isRight: true } })

  await server.bucket.remove([third.key])
  await server.database.apply(
    [{ v: 1, is: 'removed', id: third.id, key: third.key, why: 'forgotten' }],
    'cloud',
  )
  const cut = await chain()
  t.match(cut, { chunks: 4, isUnbroken: false, findings: { length: Number } })
  t.ok(cut.findings.some(({ is, isWrong, count }) => is === 'missing' && isWrong && count === 1))
  t.match(await verify(), { body: { isRight: false, chunks: 4 } })
})

t.test('without certificates of signers nothing is said to be right', async (t) => {
  const server = await apiServer(t)
  await server.record(...(await makeRealClips({ ...NORTH, startMs: T0, chunks: 1, chunkMs: 1000 })))
  const answer = await server.get('/recordings/verify', 'ada', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ camera: GATE, fromMs: T0, toMs: T0 + 60_000 }),
  })
  t.equal(answer.ok, false)
  t.match(await answer.json(), { code: 'CERTIFICATE_NOT_FOUND' })
  const chain = await server.json<RecordingChain>(
    `/recordings/chain?camera=${GATE}&from=${T0}&to=${T0 + 60_000}`,
  )
  t.match(chain, { chunks: 1, signed: 0, isUnbroken: false })
})

t.test('recordings and what is kept of them come back from the bucket alone', async (t) => {
  const server = await apiServer(t)
  const stored = await server.record(
    ...(await makeRealClips({ ...NORTH, startMs: T0 - 3_600_000, chunks: 4, chunkMs: 1000 })),
  )
  const stretches = [{ fromMs: T0, toMs: T0 + 1500, by: 'otto', atMs: T0 }]
  await server.bucket.create({
    key: keepKey(NORTH),
    body: Buffer.from(JSON.stringify({ v: 1, stretches })),
    contentType: 'application/json',
    cacheControl: '',
  })
  await using database = await Database.open({
    type: 'sqlite',
    file: join(temporaryFolder(t), 'again.sqlite'),
  })
  t.match(await reindex(database, server.bucket, { subscriber: 'cloud' }), { added: 4, unreadable: 0 })
  const rows = async (of: Database) => {
    const all = await of.read.selectFrom('clips').selectAll().orderBy('at_ms').execute()
    return all.map(
      (row) => `${row.sequence} ${row.at_ms} ${row.end_ms} ${Buffer.from(row.sha256).toString('hex')}`,
    )
  }
  t.strictSame(await rows(database), await rows(server.database))
  const keeps = await database.read.selectFrom('keeps').select('stretches_json').execute()
  t.match(
    keeps.map(({ stretches_json }) => JSON.parse(stretches_json)),
    [stretches],
  )
  await server.bucket.remove([stored[1]?.key ?? ''])
  const found = await reconcile(database, server.bucket, { subscriber: 'cloud', fix: true, lateMsMax: 0 })
  t.comment(JSON.stringify(found))
  t.strictSame(
    (await rows(database)).map((row) => row[0]),
    ['0', '2', '3'],
  )
})
