import { connect, type Socket } from 'node:net'
import type { Test } from './programs.ts'
import { until } from './wait.ts'

/** All of 127.0.0.0/8 is this machine, on Linux: an address for each attacker. */
export const noAddresses =
  process.platform === 'linux' ? false : 'one address of this machine for each client takes Linux'

const AT_ONCE = 100

/** Connections that send what they are given, and no more. */
export class Flood {
  readonly sockets: Socket[] = []
  closed = 0

  static async open(
    t: Test,
    count: number,
    port: number,
    localAddress: string,
    sent?: Buffer,
  ): Promise<Flood> {
    const flood = new Flood()
    t.after(() => flood.end())
    // Not all at once: the system drops what a program has not taken yet beyond some hundred, and tries again in seconds.
    while (flood.sockets.length < count)
      await Promise.all(
        Array.from({ length: Math.min(AT_ONCE, count - flood.sockets.length) }, () =>
          flood.#add(connect({ port, host: '127.0.0.1', localAddress }), sent),
        ),
      )
    return flood
  }

  #add(socket: Socket, sent: Buffer | undefined): Promise<void> {
    this.sockets.push(socket)
    if (sent) socket.write(sent)
    socket.resume()
    return new Promise((resolve) => {
      socket.on('error', () => {}) // 'close' follows
      socket.once('connect', resolve)
      socket.once('close', () => {
        this.closed += 1
        resolve()
      })
    })
  }

  end(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  get open(): number {
    return this.sockets.length - this.closed
  }

  /** When all that are to be refused are: so many are left. */
  async settled(left: number, msMax = 20_000): Promise<void> {
    await until(`${left} are left`, () => this.open === left, msMax).catch((error) => {
      throw new Error(`${error.message}; there are ${this.open}`)
    })
  }
}
