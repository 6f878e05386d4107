import { createServer, type Socket } from 'node:net'
import mqtt, { type Packet } from 'mqtt-packet'
import type { Test } from './programs.ts'

/**
 * A broker's end of the wire that does only what it is told: CONNACK and SUBACK by itself, nothing else. For promises
 * about what a client sends and when, which a real broker swallows.
 */
export class FakeBroker {
  readonly url: string
  readonly received: Packet[] = []
  /** Called at each packet, after it was added to `received`. */
  onPacket: ((packet: Packet, client: Socket) => void) | undefined
  /** The client that subscribed last. */
  client: Socket | undefined
  connections = 0
  answersSubscribe = true

  private constructor(url: string) {
    this.url = url
  }

  static async start(t: Test): Promise<FakeBroker> {
    const server = createServer({ noDelay: true })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const broker = new FakeBroker(
      `mqtt://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    )
    const sockets = new Set<Socket>()
    t.after(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    server.on('connection', (socket) => {
      broker.connections += 1
      sockets.add(socket)
      const parser = mqtt.parser()
      parser.on('packet', (packet) => {
        broker.received.push(packet)
        if (packet.cmd === 'connect')
          mqtt.writeToStream({ cmd: 'connack', returnCode: 0, sessionPresent: false }, socket)
        else if (packet.cmd === 'subscribe' && broker.answersSubscribe) {
          const granted = packet.subscriptions.map(({ qos }) => qos)
          mqtt.writeToStream({ cmd: 'suback', messageId: packet.messageId, granted }, socket)
          broker.client = socket
        }
        broker.onPacket?.(packet, socket)
      })
      socket.on('data', (chunk) => parser.parse(chunk))
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    })
    return broker
  }

  get pubacks(): number[] {
    return this.received.flatMap((packet) => (packet.cmd === 'puback' ? [packet.messageId as number] : []))
  }

  /** All in one write, so that the client has them in one read. */
  publish(messages: readonly { topic: string; payload: Buffer }[], firstId = 1): void {
    this.client?.write(
      Buffer.concat(
        messages.map(({ topic, payload }, n) =>
          mqtt.generate({
            cmd: 'publish',
            topic,
            payload,
            qos: 1,
            messageId: firstId + n,
            dup: false,
            retain: false,
          }),
        ),
      ),
    )
  }
}
