import { RTMP_AGGREGATE_MESSAGES_MAX } from '../../limits.ts'
import type { Admission, Refusal } from '../publication.ts'
import { AmfFault, type AmfValue, firstText, readAmf, writeAmf } from './amf.ts'
import {
  ACKNOWLEDGEMENT,
  AGGREGATE,
  AUDIO,
  ChunkFault,
  ChunkReader,
  COMMAND_AMF0,
  COMMAND_AMF3,
  chunksOf,
  type Message,
  PEER_BANDWIDTH,
  SET_CHUNK_SIZE,
  USER_CONTROL,
  VIDEO,
  WINDOW_SIZE,
} from './chunks.ts'
import { Handshake, HandshakeFault } from './handshake.ts'

/**
 * One connection that speaks RTMP, without its socket: bytes in, bytes out.
 *
 *     handshake -> connect (app "live") -> createStream -> publish (a key) -> audio and video -> deleteStream
 */

/** Before a publisher has shown a key: bytes of a message, and of all that it sends. */
const STRANGER_MESSAGE_BYTES_MAX = 16_384
export const STRANGER_BYTES_MAX = 65_536
/** A key frame of 4K takes 2 MB. */
const MESSAGE_BYTES_MAX = 8_000_000
/** Of a key, and what stands beside it. */
const NAME_CHARACTERS_MAX = 512
/** How much a publisher may send before it waits for our acknowledgement. */
const WINDOW_BYTES = 2_500_000
const CHUNK_BYTES = 4096
const APP = 'live'
const STREAM = 1
const CONTROL_CHUNKS = 2
const COMMAND_CHUNKS = 3

export interface SessionEvents {
  /** To the publisher. */
  send(bytes: Buffer): void
  /** Nothing more is said: the connection ends once what was sent is out. */
  end(): void
  admit(key: string): Admission | { readonly refusal: Refusal }
  /** It may publish, from now on. */
  published(admission: Admission): void
  unpublished(): void
  video(payload: Buffer, timestampMs: number): void
  audio(payload: Buffer, timestampMs: number): void
  refused(why: string): void
}

/** What breaks the protocol or its limits. */
export class RtmpFault extends Error {}

export class RtmpSession {
  readonly #events: SessionEvents
  readonly #reader: ChunkReader
  #handshake: Handshake | undefined = new Handshake()
  #bytes = 0
  #acknowledged = 0
  #windowBytes = WINDOW_BYTES
  #isConnected = false
  #isPublishing = false
  /** A key shown when connecting. */
  #connectKey: string | undefined
  /** Of chunks that we send: as the protocol has it, until we have said otherwise. */
  #chunkBytes = 128
  /** Nothing that still comes is looked at. */
  #isOver = false

  constructor(events: SessionEvents) {
    this.#events = events
    this.#reader = new ChunkReader(STRANGER_MESSAGE_BYTES_MAX, (message) => this.#message(message))
  }

  get isPublishing(): boolean {
    return this.#isPublishing
  }

  /** Bytes of memory that it holds of what came. */
  get held(): number {
    return this.#reader.bytes
  }

  /** Throws RtmpFault. */
  push(data: Buffer): void {
    if (this.#isOver) return
    this.#bytes += data.length
    if (!this.#isPublishing && this.#bytes > STRANGER_BYTES_MAX)
      throw new RtmpFault('too much without a stream key')
    try {
      const bytes = this.#handshake ? this.#greet(this.#handshake, data) : data
      if (bytes) this.#reader.push(bytes)
    } catch (error) {
      if (error instanceof ChunkFault || error instanceof AmfFault || error instanceof HandshakeFault)
        throw new RtmpFault(error.message)
      throw error
    }
    if (this.#bytes - this.#acknowledged >= this.#windowBytes) {
      this.#acknowledged = this.#bytes
      this.#control(ACKNOWLEDGEMENT, uint32(this.#bytes % 2 ** 32))
    }
  }

  #greet(handshake: Handshake, data: Buffer): Buffer | undefined {
    const { answer, rest } = handshake.push(data)
    if (answer) this.#events.send(answer)
    if (rest) this.#handshake = undefined
    return rest
  }

  /** Ends it from our side. */
  end(why: string): void {
    if (this.#isOver) return
    if (this.#isPublishing) this.#status('error', 'NetStream.Publish.Denied', why)
    this.#close()
  }

  #close(): void {
    this.#isOver = true
    this.#leave()
    this.#events.end()
  }

  #leave(): void {
    if (!this.#isPublishing) return
    this.#isPublishing = false
    // What it sends from here on is a stranger's again.
    this.#bytes = 0
    this.#acknowledged = 0
    this.#reader.messageBytesMax = STRANGER_MESSAGE_BYTES_MAX
    this.#events.unpublished()
  }

  #message({ type, timestampMs, payload }: Message): void {
    if (this.#isOver) return
    switch (type) {
      case VIDEO:
        if (this.#isPublishing) this.#events.video(payload, timestampMs)
        return
      case AUDIO:
        if (this.#isPublishing) this.#events.audio(payload, timestampMs)
        return
      case AGGREGATE:
        if (this.#isPublishing) this.#aggregate(payload, timestampMs)
        return
      case COMMAND_AMF3: // a byte of which nobody knows the use, and then AMF0
      case COMMAND_AMF0:
        this.#command(type === COMMAND_AMF3 ? payload.subarray(1) : payload)
        return
      case WINDOW_SIZE:
        if (payload.length >= 4) this.#windowBytes = Math.max(4096, payload.readUInt32BE(0))
        return
      case USER_CONTROL:
        // A ping, which is answered with its time.
        if (payload.length >= 6 && payload.readUInt16BE(0) === 6)
          this.#control(USER_CONTROL, Buffer.concat([Buffer.from([0, 7]), payload.subarray(2, 6)]))
        return
      default: // metadata and the like: the video itself says what it is
    }
  }

  /** Several messages in one, as tags of FLV are. Their times count from the first. */
  #aggregate(payload: Buffer, timestampMs: number): void {
    let first: number | undefined
    let messages = 0
    for (let at = 0; at + 11 <= payload.length; ) {
      messages += 1
      if (messages > RTMP_AGGREGATE_MESSAGES_MAX) throw new RtmpFault('an aggregate of too many messages')
      const size = payload.readUIntBE(at + 1, 3)
      const time = payload.readUIntBE(at + 4, 3) + (payload[at + 7] as number) * 2 ** 24
      first ??= time
      const body = payload.subarray(at + 11, at + 11 + size)
      if (body.length < size) throw new RtmpFault('an aggregate that is cut off')
      const when = (timestampMs + time - first) >>> 0
      if (payload[at] === VIDEO) this.#events.video(body, when)
      if (payload[at] === AUDIO) this.#events.audio(body, when)
      at += 11 + size + 4
    }
  }

  #command(payload: Buffer): void {
    const name = firstText(payload)?.text
    // What comes while it publishes: the ends of it. All else is passed over without being read.
    if (name === undefined || !COMMANDS.has(name)) return
    const [, transaction, object, ...more] = readAmf(payload)
    const id = typeof transaction === 'number' ? transaction : 0
    switch (name) {
      case 'connect':
        this.#connect(id, object)
        break
      case 'createStream':
        this.#answer('_result', id, null, STREAM)
        break
      case 'releaseStream':
        this.#answer('_result', id, null, undefined)
        break
      case 'FCPublish':
        this.#answer('_result', id, null, undefined)
        this.#answer('onFCPublish', 0, null, { code: 'NetStream.Publish.Start', level: 'status' })
        break
      case 'publish':
        this.#publish(more[0])
        break
      case 'play':
        this.#status('error', 'NetStream.Play.Failed', 'This server takes streams and gives none.')
        this.#refuse('play')
        break
      default: // FCUnpublish, deleteStream, closeStream
        this.#leave()
    }
  }

  #connect(id: number, object: AmfValue): void {
    const said = typeof object === 'object' && object !== null && !Array.isArray(object) ? object : {}
    const settings = said as { readonly [key: string]: AmfValue }
    const [app, query] = split(textOf(settings.app))
    const [, addressQuery] = split(textOf(settings.tcUrl))
    this.#connectKey = keyIn(query) ?? keyIn(addressQuery)
    if (app.replace(/\/+$/, '') !== APP) {
      this.#answer('_error', id, null, {
        level: 'error',
        code: 'NetConnection.Connect.Rejected',
        description: `There is no application of that name. Publish to rtmp://HOST/${APP} with a stream key.`,
      })
      this.#refuse('unknown application')
      return
    }
    this.#isConnected = true
    this.#control(WINDOW_SIZE, uint32(WINDOW_BYTES))
    this.#control(PEER_BANDWIDTH, Buffer.concat([uint32(WINDOW_BYTES), Buffer.from([2])]))
    this.#control(SET_CHUNK_SIZE, uint32(CHUNK_BYTES))
    this.#chunkBytes = CHUNK_BYTES
    this.#answer(
      '_result',
      id,
      { fmsVer: 'FMS/3,0,1,123', capabilities: 31 },
      {
        level: 'status',
        code: 'NetConnection.Connect.Success',
        description: 'Connection succeeded.',
        objectEncoding: 0,
        // Enhanced RTMP: what is taken, for whoever asked.
        ...(settings.fourCcList !== undefined && { fourCcList: ['avc1', 'hvc1', 'av01', 'mp4a', 'Opus'] }),
        ...(settings.videoFourCcInfoMap !== undefined && {
          videoFourCcInfoMap: { avc1: 1, hvc1: 1, av01: 1 },
        }),
      },
    )
  }

  #publish(name: AmfValue): void {
    if (this.#isPublishing) {
      this.#refuse('published twice')
      return
    }
    const [path, query] = split(textOf(name))
    const key = keyIn(query) ?? (path === '' ? this.#connectKey : path) ?? ''
    if (!this.#isConnected) {
      this.#status('error', 'NetStream.Publish.BadName', 'Connect first.')
      this.#refuse('not connected')
      return
    }
    let found = this.#events.admit(key)
    // Whoever gave a key in the address may call the stream as they like.
    if ('refusal' in found && found.refusal.is === 'unknown key' && this.#connectKey !== undefined)
      found = this.#events.admit(this.#connectKey)
    if ('refusal' in found) {
      this.#status('error', 'NetStream.Publish.BadName', REFUSALS[found.refusal.is])
      this.#refuse(found.refusal.is)
      return
    }
    this.#isPublishing = true
    this.#reader.messageBytesMax = MESSAGE_BYTES_MAX
    this.#status('status', 'NetStream.Publish.Start', 'Publishing.')
    this.#events.published(found)
  }

  #refuse(why: string): void {
    this.#events.refused(why)
    this.#close()
  }

  #status(level: 'status' | 'error', code: string, description: string): void {
    const payload = writeAmf('onStatus', 0, null, { level, code, description })
    this.#events.send(chunksOf({ type: COMMAND_AMF0, messageStream: STREAM, payload }, 5, this.#chunkBytes))
  }

  #answer(name: string, id: number, object: AmfValue, value: AmfValue): void {
    const payload = writeAmf(name, id, object, ...(value === undefined ? [] : [value]))
    this.#events.send(
      chunksOf({ type: COMMAND_AMF0, messageStream: 0, payload }, COMMAND_CHUNKS, this.#chunkBytes),
    )
  }

  #control(type: number, payload: Buffer): void {
    this.#events.send(chunksOf({ type, messageStream: 0, payload }, CONTROL_CHUNKS, this.#chunkBytes))
  }
}

const COMMANDS: ReadonlySet<string> = new Set([
  'connect',
  'createStream',
  'releaseStream',
  'FCPublish',
  'publish',
  'play',
  'FCUnpublish',
  'deleteStream',
  'closeStream',
])

const REFUSALS: Readonly<Record<Refusal['is'], string>> = {
  'unknown key': 'The stream key is wrong, or has been replaced. Copy it again, or make a new one.',
  inactive: 'This stream has been deactivated. Activate it first.',
  busy: 'Somebody else publishes with this stream key. End that first.',
}

const textOf = (value: AmfValue) => (typeof value === 'string' ? value.slice(0, NAME_CHARACTERS_MAX) : '')

function split(text: string): [path: string, query: string] {
  const at = text.indexOf('?')
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
}

const keyIn = (query: string) => new URLSearchParams(query).get('key') ?? undefined

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
