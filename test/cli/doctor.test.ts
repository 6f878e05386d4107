import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { DeleteBucketPolicyCommand, GetBucketPolicyCommand, PutBucketPolicyCommand } from '@aws-sdk/client-s3'
import t from 'tap'
import { subscriberSchema } from '../../cloud-subscriber/config.ts'
import { checkBucket } from '../../commands/doctor/bucket.ts'
import type { Finding } from '../../commands/doctor/finding.ts'
import { openBucket } from '../../lib/buckets/open.ts'
import { openAuthority } from '../kit/certificates.ts'
import { freePort } from '../kit/ports.ts'
import { brokerConfig, Program, type Test, temporaryFolder } from '../kit/programs.ts'
import { emptyS3Bucket, makeS3Bucket, s3Client, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { S3Proxy } from '../kit/s3-proxy.ts'
import { configFile, type Outcome, sightline } from './sightline.ts'

const USERS = [
  { name: 'door', role: 'device', site: 'home', password: 'open sesame' },
  { name: 'keeper', role: 'subscriber', password: 'to the bucket' },
]

async function setUp(t: Test) {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', users: USERS }))
  const folder = temporaryFolder(t)
  const secret = (name: string, text: string) => {
    writeFileSync(join(folder, name), `${text}\n`, { mode: 0o600 })
    return join(folder, name)
  }
  return { broker, folder, secret }
}

type Line = Finding & { readonly subject: string; readonly sum?: Readonly<Record<string, number>> }

function linesOf({ stdout }: Outcome): Line[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
}

t.test('a set-up that works is said to, and is as it was afterwards', async (t) => {
  const { broker, folder, secret } = await setUp(t)
  const bucket = join(folder, 'bucket')
  const files = [
    configFile(t, broker.config, 'edge.yaml'),
    configFile(
      t,
      {
        device: 'door',
        broker: { url: broker.url, username: 'door', passwordFile: secret('door', 'open sesame') },
        detect: { modelFolder: join(folder, 'models') },
        http: { port: 0 },
      },
      'door.yaml',
    ),
    configFile(
      t,
      {
        broker: { url: broker.url, username: 'keeper', passwordFile: secret('keeper', 'to the bucket') },
        inbox: { folder: join(folder, 'inbox'), bytesMax: '10MB' },
        quarantine: { bytesMax: '10MB' },
        bucket: { type: 'folder', path: bucket },
        http: { port: 0 },
      },
      'keeper.yaml',
    ),
  ]
  for (const file of files) chmodSync(file, 0o600)
  const before = broker.log.length
  const { status, stdout, stderr } = await sightline(t, [
    'doctor',
    ...files.flatMap((file) => ['--config', file]),
  ])
  t.match({ status, stderr }, { status: 0, stderr: '' }, stdout)
  t.match(
    stdout,
    /^ok {4}port 127\.0\.0\.1:\d+: in use by this program, which is running: process \d+ \(node main\.ts\)$/m,
  )
  t.match(stdout, /^ok {4}running broker: store: ok$/m)
  t.match(stdout, /^ok {4}store .*: books readable; in use by process \d+; nothing pending$/m)
  t.match(
    stdout,
    /^ok {4}broker: mqtt:.* as "door": round trip .* ms, CONNACK after \d+ ms, PUBACK after \d+ ms$/m,
  )
  t.match(stdout, /^ok {4}broker: mqtt:.* as "keeper": .*SUBACK after \d+ ms$/m)
  t.match(stdout, /^ok {4}model blazeface: loads in \d+ ms, and finds \d+ of \d+ drawn faces/m)
  t.match(stdout, /^ok {4}camera testcard: /m)
  t.match(stdout, /^ok {4}bucket: folder .*: written in \d+ ms, read in \d+ ms, deleted in \d+ ms$/m)
  t.match(stdout, /\nnothing failed: \d+ ok, \d+ warnings?, \d+ skipped\n$/)
  t.notOk(stdout.includes('\u001b'), 'no colours in a file')
  t.strictSame(readdirSync(folder).sort(), ['door', 'keeper'], 'nothing stays behind')
  t.strictSame(
    broker.log.slice(before).filter(({ level }) => level > 30),
    [],
    'and the broker has nothing to complain of',
  )
})

t.test('each fault is named, with what to do', async (t) => {
  const { broker, folder, secret } = await setUp(t)
  const stranger = createServer().listen(0, '127.0.0.1')
  t.after(() => stranger.close())
  await new Promise((resolve) => stranger.once('listening', resolve))
  const { port } = stranger.address() as { port: number }
  const authority = await openAuthority(t)
  const expired = await authority.server('edge', { endedDaysAgo: 3 })
  const file = secret('file', 'in the place of a folder')
  const open = secret('open', 'wrong')
  chmodSync(open, 0o644)
  const model = join(folder, 'model.onnx')
  writeFileSync(model, 'no model')

  const files = {
    device: configFile(
      t,
      {
        device: 'door',
        broker: { url: broker.url, username: 'door', passwordFile: open },
        detect: { model },
        cameras: [{ name: 'yard', source: join(folder, 'yard.mp4') }],
        http: { port },
      },
      'device.yaml',
    ),
    subscriber: configFile(
      t,
      {
        broker: { url: `mqtt://127.0.0.1:${await freePort()}` },
        inbox: { folder: file },
        bucket: { type: 'folder', path: join(folder, 'not mounted', 'bucket') },
        http: { port: 0 },
      },
      'subscriber.yaml',
    ),
    broker: configFile(
      t,
      {
        name: 'cloud',
        listeners: [{ port: 0, tls: expired }, { port }],
        store: { folder: join(folder, 'store') },
        users: USERS,
        http: { port: Number(new URL(broker.http).port) },
      },
      'broker.yaml',
    ),
    wrong: configFile(t, 'listeners:\n  - prot: 1883\nstore:\n  folder: 7\n', 'wrong.yaml'),
  }
  const outcome = await sightline(t, [
    'doctor',
    '--json',
    ...Object.values(files).flatMap((name) => ['--config', name]),
  ])
  t.match({ status: outcome.status, stderr: outcome.stderr }, { status: 1, stderr: '' })
  const lines = linesOf(outcome)
  const says = (subject: string, level: Finding['level'], what: string, found: RegExp, todo: RegExp) => {
    const line = lines.find(
      (it) =>
        it.subject?.startsWith(subject) && it.what === what && it.level === level && found.test(it.found),
    )
    t.match(line, { found, todo }, `${what}: ${found}`)
  }
  const taken = new RegExp(`in use by process ${process.pid} `)
  says(files.device, 'FAIL', `port 127.0.0.1:${port}`, taken, /another port under "http"/)
  says(files.device, 'FAIL', 'broker', /user name or the password is wrong/, /Compare "broker"/)
  says(files.device, 'warn', `secret ${open}`, /mode 644/, /chmod 600/)
  says(
    files.device,
    'FAIL',
    `model ${model}`,
    /not a model that ONNX Runtime can load/,
    /path of an ONNX file/,
  )
  says(files.device, 'FAIL', 'camera yard', /yard\.mp4 does not exist/, /under "cameras"/)
  says(files.subscriber, 'FAIL', 'broker', /connection refused/, /that the broker is running/)
  says(files.subscriber, 'FAIL', `store ${file}`, /a file.*not a folder/, /"inbox\.folder"/)
  const bucket = join(folder, 'not mounted', 'bucket')
  says(files.subscriber, 'warn', `bucket ${bucket}`, /nor its parent folder/, /mount it first/)
  t.notOk(existsSync(join(folder, 'not mounted')), 'nor is it there afterwards')
  const { certFile } = expired
  says(files.broker, 'FAIL', `certificate ${certFile}`, /expired on \d{4}-/, /certs renew/)
  says(files.broker, 'FAIL', `port 127.0.0.1:${port}`, /device\.yaml uses it too/, /listeners\.1/)
  const running = `port ${broker.http.replace('http://', '')}`
  says(files.broker, 'FAIL', running, /the Sightline program "edge"/, /another port under "http"/)
  says(files.wrong, 'FAIL', 'configuration', /CONFIG_INVALID/, /wrong\.yaml:2: .*"listeners\.0\.prot"/)
  says(files.wrong, 'FAIL', 'configuration', /CONFIG_INVALID/, /wrong\.yaml:4: .*"store\.folder"/)
  const fails = lines.filter(({ level }) => level === 'FAIL')
  t.strictSame(lines.at(-1)?.sum?.FAIL, fails.length, 'and the sum counts them')
  for (const { level, what, todo } of lines)
    if (level === 'FAIL' || level === 'warn') t.match(todo, /\w{3}/, `${what} says what to do`)
})

t.test('of a device: ports for publishers, streams, the key for signatures, the outbox', async (t) => {
  const { broker, folder, secret } = await setUp(t)
  const stranger = createServer().listen(0, '127.0.0.1')
  t.after(() => stranger.close())
  await new Promise((resolve) => stranger.once('listening', resolve))
  const { port } = stranger.address() as { port: number }
  const authority = await openAuthority(t)
  const expired = await authority.server('device', { endedDaysAgo: 3 })
  const streams = secret('streams.yaml', `streams:\n  - name: stage\n    keyHash: ${'ab'.repeat(32)}`)
  const camera = { name: 'yard', source: 'testcard', record: { mode: 'always' } }
  const device = async (name: string, settings: object) =>
    configFile(
      t,
      {
        device: 'door',
        broker: { url: broker.url, username: 'door', passwordFile: secret('door', 'open sesame') },
        detect: { modelFolder: join(folder, 'models') },
        cameras: [camera],
        http: { port: 0 },
        outbox: { folder: join(folder, 'outbox'), bytesMax: '1MB' },
        ...settings,
      },
      name,
    )
  const signing = { ...(await authority.signer('home/door', { days: 100 })), folder: join(folder, 'signed') }
  const others = { ...(await authority.signer('home/gate')), folder: join(folder, 'signed') }
  const outbox = join(folder, 'outbox', 'device-4-home-door')
  const files = {
    well: await device('well.yaml', {
      listen: { streamsFile: streams, rtmp: { port: await freePort() } },
      signing,
    }),
    wrong: await device('wrong.yaml', {
      listen: { streamsFile: join(folder, 'none.yaml'), rtmp: { port, tls: expired }, http: { port } },
      outbox: { folder: streams },
      signing: others,
    }),
    still: await device('still.yaml', {
      cameras: [{ ...camera, record: { mode: 'off' } }],
      outbox: { folder: join(folder, 'unused') },
    }),
  }
  const outcome = await sightline(t, [
    'doctor',
    '--json',
    ...Object.values(files).flatMap((name) => ['--config', name]),
  ])
  const lines = linesOf(outcome)
  const says = (subject: string, level: Finding['level'], what: string, found: RegExp) =>
    t.ok(
      lines.some(
        (it) =>
          it.subject?.startsWith(subject) && it.what === what && it.level === level && found.test(it.found),
      ),
      `${level} ${what}: ${found}`,
    )
  says(files.well, 'ok', `streams ${streams}`, /^1 stream, 1 active$/)
  says(files.well, 'ok', `signing ${signing.certFile}`, /^valid until/)
  says(files.well, 'ok', `folder ${signing.folder}`, /can be created/)
  says(files.well, 'ok', `store ${outbox}`, /can be created/)
  says(files.wrong, 'FAIL', `port 127.0.0.1:${port}`, new RegExp(`in use by process ${process.pid} `))
  says(files.wrong, 'FAIL', `port 127.0.0.1:${port}`, /listen\.rtmp uses it too/)
  says(files.wrong, 'FAIL', `certificate ${expired.certFile}`, /expired on .* \(listen\.rtmp\.tls\)/)
  says(files.wrong, 'FAIL', `streams ${join(folder, 'none.yaml')}`, /not found/)
  says(files.wrong, 'FAIL', `signing ${others.certFile}`, /is for home\/gate, and this device is home\/door/)
  says(files.wrong, 'FAIL', `store ${join(streams, 'device-4-home-door')}`, /a file.*not a folder/)
  const unused = join(folder, 'unused', 'device-4-home-door')
  says(files.still, 'skip', `store ${unused}`, /no camera records/)
  t.notOk(existsSync(join(folder, 'outbox')), 'nothing stays behind')
})

t.test(
  'a bucket that the subscriber cannot open fails here too, with the same sentence',
  { skip: skipWithoutS3 },
  async (t) => {
    await using proxy = await S3Proxy.open(s3Endpoint ?? '')
    const name = await makeS3Bucket()
    t.after(() => emptyS3Bucket(name))
    const config = subscriberSchema.parse({
      bucket: { type: 's3', bucket: name, region: 'us-east-1', endpoint: proxy.url, publicRead: true },
    })
    const failures = async () =>
      (await checkBucket(config, AbortSignal.timeout(20_000))).filter(({ level }) => level === 'FAIL')
    t.strictSame(await failures(), [], 'one that has not been opened yet is well')
    const ofRecordings = async () =>
      (await checkBucket(config, AbortSignal.timeout(20_000))).filter(({ what }) => what === 'recordings')
    t.match(await ofRecordings(), [{ level: 'ok', found: /not public/ }], 'however public the bucket is')
    const client = s3Client()
    t.after(() => client.destroy())
    await t.rejects(
      client.send(new GetBucketPolicyCommand({ Bucket: name })),
      { name: 'NoSuchBucketPolicy' },
      'and is not open afterwards',
    )
    const open = {
      Effect: 'Allow',
      Principal: '*',
      Action: 's3:GetObject',
      Resource: `arn:aws:s3:::${name}/*`,
    }
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [{ Sid: 'Theirs', ...open }] })
    await client.send(new PutBucketPolicyCommand({ Bucket: name, Policy }))
    t.match(
      await ofRecordings(),
      [{ level: 'FAIL', found: /anyone can read recordings/ }],
      'somebody opened all of it',
    )
    await client.send(new DeleteBucketPolicyCommand({ Bucket: name }))
    for (const [at, fault, says] of [
      [/policy/, { status: 501, code: 'NotImplemented' }, /Set "bucket\.publicRead: false"/],
      [/policy/, { status: 400, code: 'MalformedPolicy' }, /Set "bucket\.publicRead: false"/],
      [/policy/, { status: 403, code: 'AccessDenied' }, /s3:PutBucketPolicy/],
      [/cors/, { status: 403, code: 'AccessDenied' }, /s3:PutBucketCORS/],
      [
        /^/,
        { status: 400, code: 'AuthorizationHeaderMalformed', region: 'eu-west-3' },
        /"bucket\.region: eu-west-3"/,
      ],
    ] as const) {
      proxy.fault = ({ query, method }) => (method === 'PUT' && at.test(query) ? fault : undefined)
      const error = await openBucket(config).catch((error: Error) => error)
      t.match(error, { message: says }, fault.code)
      const [failed, ...more] = await failures()
      t.match(`${failed?.found} ${failed?.todo}`, says)
      t.strictSame(more, [])
    }
  },
)
