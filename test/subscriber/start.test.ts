import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Program, temporaryFolder } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { emptyS3Bucket, makeS3Bucket, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'

const AWAY_MS = 5_000

t.test('started before its store, it waits and then works', { skip: skipWithoutS3 }, async (t) => {
  const store = new URL(s3Endpoint as string)
  const bucket = await makeS3Bucket()
  t.after(() => emptyS3Bucket(bucket))
  await using line = await TcpProxy.open({ host: store.hostname, port: Number(store.port) })
  line.refuse()
  const back = sleep(AWAY_MS).then(() => line.accept())
  const program = await Program.start(t, 'subscriber', {
    broker: { url: 'mqtt://127.0.0.1:1' },
    inbox: { folder: temporaryFolder(t) },
    bucket: { type: 's3', bucket, endpoint: `http://127.0.0.1:${line.port}` },
    http: { port: 0 },
  })
  await back
  const waited = program.log.find(({ code }) => code === 'BUCKET_UNREACHABLE')
  t.match(waited?.msg, /Trying again; the broker keeps the crops meanwhile/)
})

t.test('told to stop while it waits, it stops at once, and well', async (t) => {
  const program = await Program.waiting(
    t,
    'subscriber',
    {
      broker: { url: 'mqtt://127.0.0.1:1' },
      inbox: { folder: temporaryFolder(t) },
      bucket: { type: 's3', bucket: 'faces', endpoint: 'http://127.0.0.1:1' },
      http: { port: 0 },
    },
    ({ code }) => code === 'BUCKET_UNREACHABLE',
  )
  t.equal(await program.stop(), 0)
})
