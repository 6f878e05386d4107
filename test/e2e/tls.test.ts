import { copyFileSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { Client } from 'aedes'
import mqtt from 'mqtt-packet'
import pino from 'pino'
import t from 'tap'
import { Connection } from '../../broker/connection.ts'
import { certificateNameOf, createTlsServer, readingTls } from '../../broker/tls.ts'
import { Publisher } from '../../device/link/publish.ts'
import type { Publish } from '../../lib/mqtt/packets.ts'
import { type ClientFiles, followClientFiles } from '../../lib/tls/certificates.ts'
import { objectKey } from '../../wire/object-key.ts'
import { cropFilter, TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { type Authority, openAuthority, type Pair } from '../kit/certificates.ts'
import { makeCrop } from '../kit/crops.ts'
import {
  bridgeConfig,
  brokerConfig,
  missing,
  Program,
  subscriberConfig,
  type Test,
  temporaryFolder,
} from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const FILTER = cropFilter(TOPIC_PREFIX_DEFAULT)
/** The authority of the edge's devices, that of the cloud's clients, and one that nobody trusts. */
const [edgeCa, cloudCa, foreignCa] = [await openAuthority(t), await openAuthority(t), await openAuthority(t)]
const edgeServer = await edgeCa.server('edge')

const publish = (messageId: number, topic: string, payload: Buffer, retain = false) =>
  mqtt.generate({ cmd: 'publish', topic, payload, qos: 1, messageId, dup: false, retain })

function tlsTo(t: Test, port: number, { caFile }: Authority, pair?: Pair) {
  const socket = connect({
    host: '127.0.0.1',
    port,
    ca: readFileSync(caFile),
    ...(pair ? { cert: readFileSync(pair.certFile), key: readFileSync(pair.keyFile) } : {}),
  })
  socket.on('error', () => {})
  t.after(() => void socket.destroy())
  return socket
}

const overTls = (
  t: Test,
  port: number,
  ca: Authority,
  pair: Pair | undefined,
  clientId: string,
  settings = {},
) => RawClient.over(t, tlsTo(t, port, ca, pair), clientId, { clean: true, ...settings })

/** The agent's own publisher. */
function agent(t: Test, port: number, files: ClientFiles): Publisher {
  const log = pino({ level: 'silent' })
  const publisher = new Publisher({
    url: `mqtts://127.0.0.1:${port}`,
    clientId: 'pi',
    credentials: followClientFiles(files, 'broker', log),
    keepaliveMs: 15_000,
    window: 64,
    payloadBytesMax: 1e6,
    backoff: { delayMsMin: 20, delayMsMax: 100 },
    pending: { bytesMax: 1e8, entriesMax: 1000 },
    statusTopic: 'sightline/v1/home/pi/status',
    log,
    events: { acknowledged: () => {}, dropped: () => {}, said: () => {}, unsaid: () => {} },
  })
  t.after(() => publisher[Symbol.asyncDispose]())
  return publisher
}

t.test(
  'a connection over TLS is read no further while too much is unacknowledged, and loses nothing',
  async (t) => {
    const COUNT = 400
    const HELD_BYTES_MAX = 200_000
    const accepted: { message: Publish; done: () => void }[] = []
    let acceptedBytes = 0
    let ended = false
    let name: string | undefined
    const server = createTlsServer({
      files: { ...edgeServer, clientCaFile: edgeCa.caFile },
      where: 'tls',
      handshakeMsMax: 5000,
      log: pino({ level: 'silent' }),
      refused: () => {},
      connect: (accepting) => {
        name = certificateNameOf(accepting)
        const socket = readingTls(accepting, (bytes) => connection.receive(bytes))
        const connection = new Connection({
          socket,
          packetBytesMax: 1e6,
          unacknowledgedBytesMax: HELD_BYTES_MAX,
          packetsPerSecondMax: 1e6,
          bytesPerSecondMax: 1e9,
          handler: {
            accept: (_client, message) => {
              acceptedBytes += message.payload.length
              return new Promise<void>((done) => accepted.push({ message, done }))
            },
            acknowledge: () => true,
            canTell: () => false,
            refused: () => {},
            tooLarge: () => {},
          },
        })
        connection.ready({} as Client)
        // As aedes does.
        socket.on('readable', () => socket.read())
        socket.on('end', () => {
          ended = true
        })
      },
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.after(() => void server.close())
    const client = tlsTo(t, (server.address() as AddressInfo).port, edgeCa, await edgeCa.client('held'))
    const parser = mqtt.parser()
    const acknowledged: number[] = []
    parser.on('packet', (packet) => acknowledged.push(packet.messageId as number))
    client.on('data', (data) => parser.parse(data))
    const bodies = Array.from({ length: COUNT }, (_, n) => Buffer.alloc(20_000 + n, n))
    for (const [n, body] of bodies.entries()) client.write(publish(n + 1, 'a/b', body))
    await until('it is held', () => acceptedBytes > HELD_BYTES_MAX)
    await sleep(150)
    t.ok(acceptedBytes < HELD_BYTES_MAX + 300_000, `${acceptedBytes} bytes were read, and then no more`)
    t.equal(ended, false)
    t.equal(name, 'held')
    for (let n = 0; n < COUNT; n += 1) {
      await until(`message ${n + 1}`, () => accepted.length > n)
      accepted[n]?.done()
    }
    await until('all are acknowledged', () => acknowledged.length === COUNT)
    t.strictSame(
      acknowledged,
      bodies.map((_, n) => n + 1),
    )
    t.ok(
      bodies.every((body, n) => accepted[n]?.message.payload.equals(body)),
      'each came whole',
    )
  },
)

t.test('from a camera to the bucket with certificates all the way', async (t) => {
  const mutual = async (ca: Authority, pair: Pair) => [{ port: 0, tls: { ...pair, clientCaFile: ca.caFile } }]
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'cloud',
      listeners: await mutual(cloudCa, await cloudCa.server('cloud')),
      users: [
        { name: 'edge-1', publish: [FILTER] },
        { name: 'subscriber', subscribe: [FILTER] },
      ],
      mustBeKept: [FILTER],
      queues: [{ clientId: 'sightline-subscriber', topics: [FILTER] }],
    }),
  )
  const cloudUrl = `mqtts://127.0.0.1:${cloud.port}`
  const bucket = temporaryFolder(t)
  const [edge, subscriber] = (await Promise.all([
    Program.start(
      t,
      'broker',
      brokerConfig(t, {
        name: 'edge',
        listeners: await mutual(edgeCa, edgeServer),
        users: [
          { name: 'camera-1', publish: ['sightline/v1/home/pi/#', 'bulk/#'] },
          { name: 'keeper', subscribe: ['bulk/#'], password: 'hunter2' },
        ],
        mustBeKept: [FILTER],
        queues: [{ clientId: 'keeper', topics: ['bulk/#'] }],
        bridges: [
          bridgeConfig(cloudUrl, {
            topics: [{ filter: FILTER }],
            caFile: cloudCa.caFile,
            ...(await cloudCa.client('edge-1')),
          }),
        ],
      }),
    ),
    Program.start(
      t,
      'subscriber',
      subscriberConfig(t, cloudUrl, {
        bucket: { type: 'folder', path: bucket },
        broker: { caFile: cloudCa.caFile, ...(await cloudCa.client('subscriber')) },
      }),
    ),
  ])) as [Program, Program]
  const camera = await edgeCa.client('camera-1')

  await t.test('200 crops, all in the bucket, whole and once', async (t) => {
    const crops = Array.from({ length: 200 }, () => makeCrop())
    const device = agent(t, edge.port, { caFile: edgeCa.caFile, ...camera })
    device.run().catch((error: unknown) => t.error(error))
    for (const { topic, payload, metadata } of crops)
      device.offer({ camera: metadata.camera, topic, payload: Buffer.from(payload) })
    await until('all are acknowledged', () => device.pending === 0)
    await until('all are stored', () => storedKeys(bucket).length >= crops.length, 20_000)
    t.strictSame(
      storedKeys(bucket),
      crops.map(({ metadata }) => objectKey(metadata, metadata.capturedAtMs)).sort(),
    )
    for (const { metadata, payload } of crops)
      if (!readFileSync(join(bucket, objectKey(metadata, metadata.capturedAtMs))).equals(payload))
        t.fail(`${metadata.id} was changed on its way`)
    await until('the uplink has let go', async () => (await edge.books('bridge/cloud')).pending === 0)
    t.equal(missing(await edge.books('bridge/cloud')), 0)
  })

  await t.test('more than a connection may have under way comes whole, whichever way it goes', async (t) => {
    const device = await overTls(t, edge.port, edgeCa, camera, 'bulk')
    const bodies = Array.from({ length: 250 }, (_, n) => Buffer.alloc(40_000 + n, n)) // 10 MB; 4 MB is the limit
    device.socket.write(
      Buffer.concat(bodies.map((body, n) => publish(n + 1, `bulk/${n}`, body, n % 9 === 0))), // retained: through aedes
    )
    await until('all are acknowledged', () => device.received.length === bodies.length)
    t.strictSame(
      device.received.map(({ messageId }) => messageId),
      bodies.map((_, n) => n + 1),
    )
    // By the password of its user, on a listener that asks for certificates: the certificate is who it is.
    t.equal(
      (
        await overTls(t, edge.port, edgeCa, camera, 'x', {
          username: 'keeper',
          password: Buffer.from('hunter2'),
        })
      ).returnCode,
      4,
      'a user name beside the certificate of another is refused',
    )
    const keeper = await overTls(t, edge.port, edgeCa, await edgeCa.client('keeper'), 'keeper', {
      clean: false,
    })
    keeper.onPacket = (packet) => {
      if (packet.cmd === 'publish') keeper.send({ cmd: 'puback', messageId: packet.messageId as number })
    }
    for (const { messageId } of keeper.publishes)
      keeper.send({ cmd: 'puback', messageId: messageId as number })
    const came = await keeper.publishesReached(bodies.length)
    t.ok(bodies.every((body, n) => body.equals(came[n]?.payload as Buffer)))
  })

  await t.test('nobody else comes in: a sentence in the log for it, and a count', async (t) => {
    const from = edge.log.length
    const says = (pattern: RegExp) =>
      edge
        .line(({ msg }) => pattern.test(msg ?? ''), 5000, from)
        .then(
          () => t.pass(pattern.source),
          (error) => t.fail(`${pattern.source}: ${error}`),
        )
    const turnedAway = async (pair: Pair | undefined, pattern: RegExp) => {
      const client = await overTls(t, edge.port, edgeCa, pair, 'intruder')
      t.equal(client.returnCode, undefined)
      await client.ended()
      await says(pattern)
    }
    await turnedAway(undefined, /presented no certificate/)
    await turnedAway(await foreignCa.client('camera-1'), /not signed by the authority in "clientCaFile"/)
    await turnedAway(await edgeCa.client('late', { endedDaysAgo: 1 }), /client certificate has expired/)
    await turnedAway(edgeServer, /not for clients/)
    const plain = await RawClient.open(t, edge.port, 'plain')
    t.equal(plain.returnCode, undefined)
    await says(/not a TLS connection.*mqtts/)
    const nobody = await overTls(t, edge.port, edgeCa, await edgeCa.client('nobody'), 'nobody')
    t.equal(nobody.returnCode, 5, 'a good certificate whose name is no user')
    const metrics = await (await fetch(`${edge.http}/metrics`)).text()
    t.match(metrics, /broker_refused_total\{[^}]*code="TLS"[^}]*\} 5/)
    t.equal((await edge.books('bridge/cloud')).accepted, 200)
  })

  await t.test('an agent that cannot come in says why', async (t) => {
    const { certFile, keyFile } = await foreignCa.client('agent')
    const fault = (files: ClientFiles) =>
      agent(t, edge.port, files)
        .run()
        .catch((error: unknown) => error)
    t.match(await fault({ ...camera, caFile: foreignCa.caFile }), {
      code: 'BROKER_REFUSED',
      message: /authority/,
    })
    const unknown = agent(t, edge.port, { caFile: edgeCa.caFile, certFile, keyFile })
    unknown.run().catch((error: unknown) => t.error(error))
    await until('it says so', () => /ended the connection/.test(unknown.trouble ?? ''))
  })

  await t.test('an agent whose certificate has expired comes in again once it is renewed', async (t) => {
    const folder = temporaryFolder(t)
    const files = {
      certFile: join(folder, 'cert.pem'),
      keyFile: join(folder, 'key.pem'),
      caFile: edgeCa.caFile,
    }
    const put = (pair: Pair) => {
      copyFileSync(pair.certFile, files.certFile)
      copyFileSync(pair.keyFile, files.keyFile)
    }
    put(camera)
    const publisher = agent(t, edge.port, files)
    publisher.run().catch((error: unknown) => t.error(error))
    const taken = async () => {
      const { topic, payload, metadata } = makeCrop()
      publisher.offer({ camera: metadata.camera, topic, payload: Buffer.from(payload) })
      await until('the broker takes a crop', () => publisher.pending === 0)
    }
    await taken()
    put(await edgeCa.client('camera-old', { endedDaysAgo: 1 }))
    await edge.restart()
    await until('it is turned away', () => /TLS handshake|expired certificate/.test(publisher.trouble ?? ''))
    put(camera)
    await taken()
  })

  await t.test('told to stop, they end, also while someone is in the middle of a handshake', async (t) => {
    const idle = connectTcp(edge.port, '127.0.0.1').on('error', () => {})
    t.after(() => void idle.destroy())
    await new Promise((resolve) => idle.once('connect', resolve))
    const started = performance.now()
    t.strictSame(await Promise.all([edge, cloud, subscriber].map((program) => program.stop())), [0, 0, 0])
    t.ok(performance.now() - started < 6000)
  })
})

t.test('listeners that would be open to others, or could let in nobody, do not start', async (t) => {
  const { checkBrokerConfig, brokerSchema } = await import('../../broker/config.ts')
  const bare = { name: 'pi', role: 'device', site: 'home' }
  const users = [{ ...bare, password: 'x' }]
  const tls = edgeServer
  const check = (listener: object, rest: object = {}) =>
    checkBrokerConfig(
      brokerSchema.parse({ listeners: [{ host: '0.0.0.0', port: 8883, ...listener }], ...rest }),
    )
  t.throws(() => check({ tls }), { code: 'CONFIG_UNSAFE_LISTENER', message: /"users" is empty/ })
  t.throws(() => check({}, { users }), {
    code: 'CONFIG_UNSAFE_LISTENER',
    message: /without TLS.*plaintext: true/,
  })
  check({ plaintext: true }, { users })
  check({ tls }, { users })
  t.throws(() => check({ tls, plaintext: true }, { users }), { code: 'CONFIG_INVALID' })
  const mutual = { ...tls, clientCaFile: edgeCa.caFile }
  t.throws(() => check({ host: '127.0.0.1', tls: mutual }), {
    code: 'CONFIG_INVALID',
    message: /"users" is empty/,
  })
  check({ tls: mutual }, { users: [bare] })
  t.throws(() => check({ tls }, { users: [bare] }), {
    code: 'CONFIG_INVALID',
    message: /"pi" has neither/,
  })
  const late = await edgeCa.server('late-server', { endedDaysAgo: 3 })
  const options = {
    where: 'listeners.0.tls',
    handshakeMsMax: 5000,
    log: pino({ level: 'silent' }),
    refused: () => {},
    connect: () => {},
  }
  t.throws(() => createTlsServer({ ...options, files: late }), {
    code: 'CONFIG_INVALID',
    message: /late-server\.pem, named by listeners\.0\.tls\.certFile, expired on/,
  })
})
