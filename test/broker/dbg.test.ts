import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Mosquitto, skipWithoutMosquitto } from '../kit/mosquitto.ts'
import { freePort } from '../kit/ports.ts'
import { bridgeConfig, brokerConfig, missing, Program, type Test } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, n) => `${from + n}`)
const firsts = (texts: readonly string[]) => [...new Set(texts)]

/** Publishes at QoS 1; resolves when all are acknowledged. */
async function publishAll(t: Test, port: number, topic: string, payloads: readonly string[]): Promise<void> {
  const client = await RawClient.open(t, port, 'publisher', { clean: true })
  for (const [n, payload] of payloads.entries()) client.publish(topic, payload, { messageId: n + 1 })
  await until('all are acknowledged', () => client.received.length === payloads.length)
  await client.disconnect()
}

/** Reads and acknowledges everything under one client id, across restarts of the broker. */
class Reader {
  readonly came: { topic: string; text: string }[] = []
  #client: RawClient | undefined

  get texts(): string[] {
    return this.came.map(({ text }) => text)
  }

  async connect(t: Test, port: number): Promise<void> {
    const client = await RawClient.open(t, port, 'reader')
    this.#client = client
    const take = (packet: (typeof client.received)[number]) => {
      if (packet.cmd !== 'publish') return
      this.came.push({ topic: packet.topic, text: packet.payload.toString() })
      client.send({ cmd: 'puback', messageId: packet.messageId as number })
    }
    client.onPacket = take
    for (const packet of client.received) take(packet)
  }

  async disconnect(): Promise<void> {
    await this.#client?.disconnect()
  }
}

const cloudConfig = (t: Test, settings: Record<string, unknown> = {}) =>
  brokerConfig(t, { name: 'cloud', queues: [{ clientId: 'reader', topics: ['#'] }], ...settings })

async function line(t: Test, bridge: Record<string, unknown> = {}) {
  const cloud = await Program.start(t, 'broker', cloudConfig(t))
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port: cloud.port, mqtt: true })
  t.after(() => proxy[Symbol.asyncDispose]())
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, { name: 'edge', bridges: [bridgeConfig(proxy.url, bridge)] }),
  )
  return { cloud, proxy, edge }
}

t.test('over a bad link', async (t) => {
  const { cloud, proxy, edge } = await line(t, { inFlightMax: 50 })
  let sent = 0
  const reader = new Reader()
  await reader.connect(t, cloud.port)

  /** Publishes more, waits until they are on the other side, and looks at what came. */
  async function pass(t: Tap, count: number, meanwhile: () => Promise<void>): Promise<string[]> {
    const payloads = numbered(count, sent)
    sent += count
    const before = reader.came.length
    await publishAll(t, edge.port, 'sightline/x', payloads)
    await meanwhile()
    await until('all have crossed', () => new Set(reader.texts).size === sent)
    await until('the bridge has let go of them', async () => (await edge.books('bridge/cloud')).pending === 0)
    const came = reader.texts.slice(before)
    t.strictSame(firsts(came), payloads, 'all, and in order')
    return came
  }
  type Tap = Test & { strictSame(found: unknown, wanted: unknown, message: string): boolean }

  await t.test('told to stop, the edge waits for what is in flight: nothing crosses twice', async (t) => {
    proxy.latencyMs = 60
    const came = await pass(t, 300, async () => {
      await sleep(150)
      t.equal(await edge.stop(), 0)
      await edge.start(); setTimeout(async()=>{ console.error(JSON.stringify(await edge.books('bridge/cloud')), JSON.stringify(await cloud.books('session/reader')), reader.came.length, new Set(reader.texts).size, proxy.connections, JSON.stringify(await edge.health())); for (const l of edge.log) console.error(JSON.stringify(l)) }, 5000)
    })
    t.equal(came.length, 300)
    proxy.latencyMs = 0
  })

  const books = await edge.books('bridge/cloud')
  t.match(books, { accepted: sent, forwarded: sent, pending: 0 })
  t.equal(missing(books), 0)
})

