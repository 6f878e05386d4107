import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { FakeBroker } from '../kit/fake-broker.ts'
import { bridgeConfig, brokerConfig, Program, subscriberConfig, temporaryFolder } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { emptyS3Bucket, makeS3Bucket, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { until } from '../kit/wait.ts'

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

t.test('told to stop while a broker does not answer SUBSCRIBE, programs stop at once', async (t) => {
  const far = await FakeBroker.start(t)
  far.answersSubscribe = false
  const topics = [{ filter: 'up' }, { filter: 'down', direction: 'down' }]
  for (const start of [
    () => Program.waiting(t, 'subscriber', subscriberConfig(t, far.url), ({ level }) => level >= 30),
    () =>
      Program.start(
        t,
        'broker',
        brokerConfig(t, { bridges: [bridgeConfig(far.url, { topics, connectTimeout: '1m' })] }),
      ),
  ]) {
    const before = far.received.length
    const program = await start()
    await until('it has subscribed', () => far.received.slice(before).some(({ cmd }) => cmd === 'subscribe'))
    const toldAtMs = performance.now()
    t.equal(await program.stop(), 0)
    const tookMs = performance.now() - toldAtMs
    t.ok(tookMs < 4000, `${program.kind} took ${Math.round(tookMs)} ms`)
  }
})

t.test('a broker that does not answer SUBSCRIBE is left, and tried again', async (t) => {
  const far = await FakeBroker.start(t)
  far.answersSubscribe = false
  const config = subscriberConfig(t, far.url, { broker: { connectTimeout: '500ms' } })
  const program = await Program.waiting(t, 'subscriber', config, ({ msg }) =>
    /did not answer SUBSCRIBE within 500 ms/.test(msg ?? ''),
  )
  far.answersSubscribe = true
  await program.line(({ msg }) => msg === 'subscribed')
})
