import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Test } from 'tap'
import { seeded } from './wait.ts'

/** A line for UDP within this machine that loses some of what goes over it. */
export class UdpRelay {
  readonly port: number
  /** 0 to 1. */
  loss = 0
  /** While it is on, no RTP packet passes, and those are not let through later either, however often they are sent again. */
  isSwallowing = false
  lost = 0
  passed = 0

  private constructor(inner: Socket, outer: Socket, to: number, seed: number) {
    this.port = inner.address().port
    const random = seeded(seed)
    let from: number | undefined
    const swallowed = new Set<string>()
    const isLost = (message: Buffer) => {
      const id = rtpOf(message)
      if (this.isSwallowing && id !== undefined) swallowed.add(id)
      const is = random() < this.loss || (id !== undefined && swallowed.has(id))
      if (is) this.lost += 1
      else this.passed += 1
      return is
    }
    inner.on('message', (message, { port }) => {
      from = port
      if (!isLost(message)) outer.send(message, to, '127.0.0.1')
    })
    outer.on('message', (message) => {
      if (from !== undefined && !isLost(message)) inner.send(message, from, '127.0.0.1')
    })
  }

  /** @param to a port of this machine */
  static async open(t: Test, to: number, seed = 1): Promise<UdpRelay> {
    const [inner, outer] = [createSocket('udp4'), createSocket('udp4')]
    for (const socket of [inner, outer]) {
      socket.bind(0, '127.0.0.1')
      await once(socket, 'listening')
      t.teardown(() => socket.close())
    }
    return new UdpRelay(inner, outer, to, seed)
  }
}

/** Sender and number of an RTP packet; undefined: it is none (RFC 5761, 4; RFC 7983). */
function rtpOf(message: Buffer): string | undefined {
  const [first = 0, second = 0] = message
  if (first < 128 || first > 191 || message.length < 12 || (second >= 192 && second <= 223)) return undefined
  return `${message.readUInt32BE(8)} ${message.readUInt16BE(2)}`
}
