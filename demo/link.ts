import { connect, createServer, type Server, type Socket } from 'node:net'

/** The cable between edge and cloud, with a plug that can be pulled. */
export class Link implements AsyncDisposable {
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #plugged = true

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  /** @param targetPort on this machine */
  static async open(targetPort: number): Promise<Link> {
    const server = createServer()
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const link = new Link(server, typeof address === 'object' && address ? address.port : 0)
    server.on('connection', (near) => link.#connect(near, targetPort))
    return link
  }

  get plugged(): boolean {
    return this.#plugged
  }

  plug(): void {
    this.#plugged = true
  }

  unplug(): void {
    this.#plugged = false
    for (const socket of this.#sockets) socket.destroy()
  }

  #connect(near: Socket, port: number): void {
    if (!this.#plugged) {
      near.destroy()
      return
    }
    const far = connect(port, '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
      socket.pipe(other)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.unplug()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
