import { createHash, randomBytes } from 'node:crypto'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { FFmpegError, FormatContext, Packet } from 'node-av/lib'

/**
 * A small RTSP camera (RFC 2326): it plays the H.264 of a clip, over and over, at its own pace, as RTP (RFC 6184)
 * over UDP or interleaved over TCP, as the client wishes. With a user it wants Digest authentication (RFC 2617).
 */
export interface RtspOptions {
  /** An MPEG transport stream (.ts), whose H.264 has its start codes and parameter sets in it. */
  readonly clip: string
  readonly framerate: number
  readonly user?: { readonly name: string; readonly password: string }
  readonly port?: number
  /** Bytes of each so many RTP packets are garbled: a bad cable. */
  readonly garbleEvery?: number
}

const REALM = 'camera'
const RTP_BYTES_MAX = 1200
const CLOCK = 90_000

export class RtspServer implements AsyncDisposable {
  readonly #options: RtspOptions
  readonly #frames: readonly (readonly Buffer[])[]
  readonly #server: Server
  readonly #viewers = new Set<Viewer>()
  readonly #nonce = randomBytes(8).toString('hex')
  readonly #transports: string[] = []
  #url = ''

  private constructor(options: RtspOptions, frames: readonly (readonly Buffer[])[]) {
    this.#options = options
    this.#frames = frames
    this.#server = createServer((socket) => {
      const viewer = new Viewer(socket, (request) => this.#answer(viewer, request))
      this.#viewers.add(viewer)
      socket.on('close', () => this.#viewers.delete(viewer))
    })
  }

  static async open(options: RtspOptions): Promise<RtspServer> {
    const server = new RtspServer(options, await readNalUnits(options.clip))
    server.#server.listen(options.port ?? 0, '127.0.0.1')
    await once(server.#server, 'listening')
    server.#url = `rtsp://127.0.0.1:${server.port}/live`
    return server
  }

  get url(): string {
    return this.#url
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** What clients asked for: their Transport headers. */
  get transports(): readonly string[] {
    return this.#transports
  }

  /** Connections stay, and nothing comes any more: a camera that hangs. */
  freeze(): void {
    for (const viewer of this.#viewers) viewer.stop()
  }

  /** A camera whose plug is pulled, as far as its clients can tell. */
  async kill(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const viewer of this.#viewers) viewer.destroy()
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.kill()
  }

  #answer(viewer: Viewer, request: string): void {
    const [first = '', ...lines] = request.split('\r\n')
    const [method = '', uri = ''] = first.split(' ')
    const headers = new Map(
      lines.map((line) => {
        const at = line.indexOf(':')
        return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()]
      }),
    )
    const reply = (status: string, more: Record<string, string> = {}, body = '') => {
      const lines = [
        `RTSP/1.0 ${status}`,
        `CSeq: ${headers.get('cseq')}`,
        'Session: 1;timeout=60',
        ...Object.entries(more).map(([key, value]) => `${key}: ${value}`),
        ...(body === '' ? [] : [`Content-Length: ${body.length}`]),
      ]
      viewer.write([...lines, '', body].join('\r\n'))
    }
    const isLetIn = method === 'OPTIONS' || this.#isLetIn(method, headers.get('authorization') ?? '')
    const challenge = `Digest realm="${REALM}", nonce="${this.#nonce}"`
    if (!isLetIn) reply('401 Unauthorized', { 'WWW-Authenticate': challenge })
    else if (method === 'OPTIONS') reply('200 OK', { Public: 'OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN' })
    else if (method === 'DESCRIBE' && !uri.endsWith('/live')) reply('404 Not Found')
    else if (method === 'DESCRIBE') {
      const session = ['v=0', 'o=- 0 0 IN IP4 127.0.0.1', 's=camera', 'c=IN IP4 0.0.0.0', 't=0 0']
      const media = ['m=video 0 RTP/AVP 96', 'a=rtpmap:96 H264/90000', 'a=fmtp:96 packetization-mode=1']
      const body = [...session, ...media, 'a=control:track1', ''].join('\r\n')
      reply('200 OK', { 'Content-Type': 'application/sdp', 'Content-Base': `${uri}/` }, body)
    } else if (method === 'SETUP') {
      const transport = headers.get('transport') ?? ''
      this.#transports.push(transport)
      const ports = /client_port=(\d+)-(\d+)/.exec(transport)
      viewer.setUp(ports ? Number(ports[1]) : undefined).then(
        (own) =>
          reply('200 OK', { Transport: `${transport};ssrc=1${own ? `;server_port=${own}-${own}` : ''}` }),
        () => viewer.destroy(),
      )
    } else if (method === 'PLAY') {
      reply('200 OK', { 'RTP-Info': `url=${uri}/track1;seq=0;rtptime=0` })
      viewer.play(this.#frames, this.#options)
    } else reply('200 OK')
  }

  #isLetIn(method: string, header: string): boolean {
    const { user } = this.#options
    if (!user) return true
    const field = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(header)?.[1] ?? ''
    const md5 = (text: string) => createHash('md5').update(text).digest('hex')
    const secret = md5(`${user.name}:${REALM}:${user.password}`)
    const expected = md5(`${secret}:${this.#nonce}:${md5(`${method}:${field('uri')}`)}`)
    return field('username') === user.name && field('response') === expected
  }
}

/** One client: its connection, where its RTP goes, and the clock that it goes by. */
class Viewer {
  readonly #socket: Socket
  #received: Buffer = Buffer.alloc(0)
  #udp: { readonly socket: UdpSocket; readonly port: number } | undefined
  #timer: NodeJS.Timeout | undefined
  #sequence = 0

  constructor(socket: Socket, answer: (request: string) => void) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('close', () => this.#end())
    socket.on('data', (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes])
      for (;;) {
        // RTCP of the client's, interleaved.
        if (this.#received[0] === 0x24 && this.#received.length >= 4) {
          const length = 4 + this.#received.readUInt16BE(2)
          if (this.#received.length < length) return
          this.#received = this.#received.subarray(length)
          continue
        }
        const end = this.#received.indexOf('\r\n\r\n')
        if (end < 0) return
        const request = this.#received.subarray(0, end).toString('latin1')
        this.#received = this.#received.subarray(end + 4)
        answer(request)
      }
    })
  }

  write(data: string | Buffer): void {
    if (this.#socket.writable) this.#socket.write(data)
  }

  /** @returns the port that RTP comes from, where it goes over UDP */
  async setUp(port: number | undefined): Promise<number | undefined> {
    if (port === undefined) return undefined
    const socket = createSocket('udp4')
    socket.on('error', () => {})
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    this.#udp = { socket, port }
    return socket.address().port
  }

  play(frames: readonly (readonly Buffer[])[], { framerate, garbleEvery = Infinity }: RtspOptions): void {
    const startMs = performance.now()
    let number = 0
    this.#timer = setInterval(
      () => {
        while (number < ((performance.now() - startMs) / 1000) * framerate) {
          const units = frames[number % frames.length] ?? []
          const time = Math.round((number * CLOCK) / framerate)
          units.forEach((unit, i) => {
            const payloads = packetise(unit)
            payloads.forEach((payload, j) => {
              this.#sequence += 1
              if (payload.length > 64 && this.#sequence % garbleEvery === 0) randomBytes(60).copy(payload, 4)
              this.#send(payload, time, i === units.length - 1 && j === payloads.length - 1)
            })
          })
          number += 1
        }
      },
      1000 / framerate / 2,
    )
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  destroy(): void {
    this.#socket.destroy()
    this.#end()
  }

  #end(): void {
    this.stop()
    const udp = this.#udp
    this.#udp = undefined
    udp?.socket.close()
  }

  #send(payload: Buffer, time: number, isLast: boolean): void {
    const header = Buffer.alloc(12)
    header[0] = 0x80
    header[1] = (isLast ? 0x80 : 0) | 96
    header.writeUInt16BE(this.#sequence & 0xffff, 2)
    header.writeUInt32BE(time >>> 0, 4)
    header.writeUInt32BE(1, 8)
    const packet = Buffer.concat([header, payload])
    if (this.#udp) {
      this.#udp.socket.send(packet, this.#udp.port, '127.0.0.1')
      return
    }
    const frame = Buffer.alloc(4)
    frame[0] = 0x24
    frame.writeUInt16BE(packet.length, 2)
    this.write(Buffer.concat([frame, packet]))
  }
}

/** A NAL unit as it is, or in fragments (FU-A, RFC 6184 section 5.8). */
function packetise(unit: Buffer): Buffer[] {
  if (unit.length <= RTP_BYTES_MAX) return [Buffer.from(unit)]
  const head = unit[0] as number
  const payloads: Buffer[] = []
  for (let at = 1; at < unit.length; at += RTP_BYTES_MAX) {
    const last = at + RTP_BYTES_MAX >= unit.length
    const mark = (at === 1 ? 0x80 : 0) | (last ? 0x40 : 0) | (head & 0x1f)
    payloads.push(
      Buffer.concat([Buffer.from([(head & 0xe0) | 28, mark]), unit.subarray(at, at + RTP_BYTES_MAX)]),
    )
  }
  return payloads
}

/** The NAL units of each frame of a clip. */
async function readNalUnits(clip: string): Promise<Buffer[][]> {
  const input = new FormatContext()
  check(await input.openInput(clip))
  check(await input.findStreamInfo())
  const frames: Buffer[][] = []
  using packet = new Packet()
  packet.alloc()
  while ((await input.readFrame(packet)) >= 0) {
    const data = packet.data
    if (data) frames.push(splitNalUnits(Buffer.from(data)))
    packet.unref()
  }
  await input.closeInput()
  return frames
}

/** What lies between the start codes 00 00 01 (a zero before one belongs to it). */
function splitNalUnits(data: Buffer): Buffer[] {
  const code = Buffer.from([0, 0, 1])
  const starts: number[] = []
  for (let at = data.indexOf(code); at >= 0; at = data.indexOf(code, at + 3)) starts.push(at + 3)
  return starts.map((start, i) => {
    let end = (starts[i + 1] ?? data.length + 3) - 3
    while (end > start && data[end - 1] === 0) end -= 1
    return data.subarray(start, end)
  })
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}
