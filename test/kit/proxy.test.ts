import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt-packet'
import t from 'tap'
import type { Test } from './programs.ts'
import { type ProxyOptions, TcpProxy } from './proxy.ts'
import { until } from './wait.ts'

async function line(t: Test, options: Partial<ProxyOptions> = {}, serve?: (socket: Socket) => void) {
  const arrived: Buffer[] = []
  const ends: Socket[] = []
  const server = createServer({ noDelay: true }, (socket) => {
    ends.push(socket)
    socket.on('error', () => {})
    if (serve) serve(socket)
    else socket.on('data', (chunk) => arrived.push(chunk))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port, ...options })
  t.after(async () => {
    await proxy[Symbol.asyncDispose]()
    server.close()
    for (const socket of ends) socket.destroy()
  })
  const dial = async () => {
    const socket = connect({ host: '127.0.0.1', port: proxy.port, noDelay: true })
    t.after(() => void socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  return { proxy, arrived, dial, text: () => Buffer.concat(arrived).toString(), ends }
}

t.test('latency delays every byte and costs no throughput', async (t) => {
  const { dial } = await line(t, { latencyMs: 100 }, (socket) => socket.pipe(socket))
  const client = await dial()
  const start = performance.now()
  client.write('x')
  await once(client, 'data')
  t.ok(performance.now() - start >= 195, 'a round trip takes twice the latency')
  // Many turns of so much would take minutes one by one; together they take one round trip and the copying.
  const bytes = 8 * 1024 * 1024
  let back = 0
  client.on('data', (chunk) => {
    back += chunk.length
  })
  const again = performance.now()
  client.write(Buffer.alloc(bytes, 'y'))
  await until('all is back', () => back === bytes)
  const tookMs = performance.now() - again
  t.ok(tookMs >= 195 && tookMs < 3000, `${Math.round(tookMs)} ms`)
})

t.test('what arrives is what was sent, in order, to its end', async (t) => {
  const { dial, text, ends } = await line(t, { latencyMs: 3 })
  const client = await dial()
  let sent = ''
  for (let n = 0; n < 300; n += 1) {
    sent += `${n},`
    client.write(`${n},`)
    if (n % 50 === 0) await sleep(1)
  }
  client.end()
  await until('all has arrived', () => text() === sent)
  await until('and the end', () => ends[0]?.readableEnded === true || ends[0]?.destroyed === true)
})

t.test('what is under way is bounded: a reader that does not read holds up the writer', async (t) => {
  const { dial } = await line(t, { bytesMax: 100_000 }, (socket) => socket.pause())
  const client = await dial()
  const chunk = Buffer.alloc(1024 * 1024)
  let drained = 0
  client.on('drain', () => {
    drained += 1
  })
  for (let n = 0; n < 40; n += 1) client.write(chunk)
  await sleep(300)
  t.ok(client.writableLength > 10 * 1024 * 1024, `${client.writableLength} bytes wait at the writer`)
  t.equal(drained, 0)
})

t.test('stall and resume: nothing moves, nothing is lost', async (t) => {
  const { proxy, dial, text } = await line(t)
  const client = await dial()
  client.write('before ')
  await until('it arrives', () => text() === 'before ')
  proxy.stall()
  client.write('meanwhile ')
  const late = await dial()
  late.write('late ')
  await sleep(50)
  t.equal(text(), 'before ')
  proxy.resume()
  await until('both arrive', () => text().includes('meanwhile ') && text().includes('late '))
})

t.test('half-open: what is sent vanishes and nobody is told; new connections work', async (t) => {
  const { proxy, dial, text } = await line(t)
  const client = await dial()
  client.write('a')
  await until('it arrives', () => text() === 'a')
  proxy.halfOpen()
  client.write('b')
  await sleep(50)
  t.equal(text(), 'a')
  t.equal(client.destroyed, false)
  const other = await dial()
  other.write('c')
  await until('the other arrives', () => text() === 'ac')
})

t.test('cut, reset, refuse and accept', async (t) => {
  const { proxy, dial } = await line(t)
  const port = proxy.port
  const cut = await dial()
  proxy.cut()
  await once(cut, 'close')
  const reset = await dial()
  await until('it is through', () => proxy.connections === 1)
  const fault = once(reset, 'error')
  proxy.reset()
  t.match((await fault)[0], { code: 'ECONNRESET' })
  proxy.refuse()
  const refused = connect({ host: '127.0.0.1', port })
  t.match((await once(refused, 'error'))[0], { code: 'ECONNREFUSED' })
  await proxy.accept()
  t.equal(proxy.port, port)
  await dial()
  t.equal(proxy.opened >= 3, true)
})

t.test('cut at a packet: what came before has passed, the packet has not', async (t) => {
  const { proxy, dial, arrived } = await line(t, { mqtt: true })
  const client = await dial()
  const publish = (messageId: number) =>
    mqtt.generate({
      cmd: 'publish',
      topic: 'a',
      payload: Buffer.alloc(5000),
      qos: 1,
      messageId,
      dup: false,
      retain: false,
    })
  const broken = proxy.cutWhen(({ messageId }, direction) => direction === 'up' && messageId === 2)
  client.write(publish(1))
  await until('the first passes', () => Buffer.concat(arrived).length === publish(1).length)
  client.write(publish(2).subarray(0, 100)) // also where it is cut into pieces
  await sleep(20)
  client.write(publish(2).subarray(100))
  await broken
  await once(client, 'close')
  t.ok(Buffer.concat(arrived).length < publish(1).length + publish(2).length)
  const blind = await line(t)
  t.throws(() => blind.proxy.cutWhen(() => true), TypeError, 'only where it was told to read MQTT')
})
