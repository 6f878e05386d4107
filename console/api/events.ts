import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import { isInScope, may, type Person, seesDevice } from '../access/may.ts'
import type { Context, NewsItem } from '../context.ts'
import { content, problems } from './answers.ts'
import { asked } from './asked.ts'
import { cameraOf, cameraSchema } from './cameras.ts'
import { detectionOf, detectionSchema } from './detections.ts'
import { keeperOf, keeperSchema } from './keepers.ts'
import { cameraAddressSchema, cameraAddressShape, idSchema, nameSchema, severalOf } from './query.ts'
import type { Api } from './server.ts'
import { Streams } from './streams.ts'

/** What has just happened, as Server-Sent Events: `/events`. */

/** By the event's name: what its `data` holds, as JSON. */
export const eventSchemas = {
  detection: detectionSchema,
  removed: z.object({ id: idSchema, ...cameraAddressShape }),
  /** Its newest detection comes as one. */
  camera: cameraSchema.omit({ newest: true }),
  keeper: keeperSchema,
  /** Ask for it: whether it is online, what it was told or what it answered has changed. */
  device: z.object({ site: nameSchema, device: nameSchema }),
  /** Ask for it by its id. */
  health: z.object({ id: idSchema, camera: cameraAddressSchema.nullable() }),
  /** It is new, or what becomes of it has changed: ask for it by its id. */
  notice: z.object({ id: idSchema, camera: cameraAddressSchema.nullable() }),
  /** Something was missed: look anew. */
  reset: z.object({}),
}
export type EventName = keyof typeof eventSchemas
export type EventData<Name extends EventName> = z.infer<(typeof eventSchemas)[Name]>

const KINDS = ['detection', 'removed', 'camera', 'keeper', 'device', 'health', 'notice'] as const

/** The server closes what is silent for 30 s. */
const HEARTBEAT_MS = 15_000
/** How soon a browser that lost its connection comes back. */
const RETRY_MS = 2000
/** What comes within it goes out as one. */
const GATHER_MS = 25
/** Who does not take that much loses the connection, and resumes where he was. */
const UNREAD_BYTES_MAX = 4 * 1024 * 1024
const MISSED_BYTES_MAX = 1024 * 1024
const EVENT_ID_PATTERN = /^[\w.:-]{1,100}$/

const eventsQuerySchema = z.strictObject({
  only: severalOf(
    z.enum(KINDS, `must be one of ${KINDS.join(', ')}`),
    'Events of this name; several times: of any of these names.',
  ),
  after: z
    .string()
    .regex(EVENT_ID_PATTERN, 'must be the id of an event')
    .optional()
    .meta({ description: 'As the header Last-Event-ID, for programs that cannot set it.' }),
})

export function eventsRoutes(api: Api, { access, config, news }: Context): void {
  const streams = new Streams(config.limits.streamsMax)
  // Once for all who follow.
  const texts = new WeakMap<NewsItem, Buffer>()
  const textOf = (id: string, item: NewsItem): Buffer => {
    const known = texts.get(item)
    if (known) return known
    const text = Buffer.from(`id: ${id}\nevent: ${item.is}\ndata: ${JSON.stringify(dataOf(item))}\n\n`)
    texts.set(item, text)
    return text
  }

  api.get(
    '/events',
    {
      config: { right: 'see' },
      exposeHeadRoute: false,
      schema: {
        operationId: 'followEvents',
        tags: ['events'],
        summary: 'What has just happened, as it happens (Server-Sent Events)',
        description: `Events named ${KINDS.join(', ')}, whose data are JSON: a Detection; the id and the camera of what was removed; a Camera without "newest"; a Keeper; the site and the name of a device that has changed; the id of an event of health, and its camera (null where it has none); the same of a notice. Keepers and health need the right "flow", notices "notices". A client that reconnects with Last-Event-ID gets what it missed, or an event named reset where that is too long ago: then load again.`,
        querystring: eventsQuerySchema,
        response: { 200: content('text/event-stream', 'Events', 'event-stream'), ...problems() },
      },
    },
    (request, reply) => {
      const caller = asked(access, request)
      const header = request.headers['last-event-id']
      const after = request.query.after ?? (typeof header === 'string' ? header : undefined)
      using opened = new DisposableStack()
      opened.use(streams.open(caller.person.name))
      const hold = opened.use(access.hold(caller, 'see'))
      reply.hijack()
      const response = reply.raw
      response.writeHead(200, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        // nginx would keep events back.
        'x-accel-buffering': 'no',
      })
      const writer = opened.adopt(new Writer(response), (it) => it.end())
      const wants = wish(caller.person, request.query.only)
      const isOurs = after !== undefined && EVENT_ID_PATTERN.test(after)
      writer.send(Buffer.from(`retry: ${RETRY_MS}\nid: ${isOurs ? after : news.lastId}\n\n`))
      // What was missed comes at once, and may be more than it takes to look anew.
      let missed: Buffer[] | undefined = []
      const follower = opened.use(
        news.follow(isOurs ? after : undefined, (id, item) => {
          if (!wants(item)) return
          if (missed) missed.push(textOf(id, item))
          else writer.send(textOf(id, item))
        }),
      )
      const missedBytes = missed.reduce((sum, { byteLength }) => sum + byteLength, 0)
      if (!follower.isComplete || missedBytes > MISSED_BYTES_MAX || (after !== undefined && !isOurs))
        writer.send(Buffer.from(`id: ${news.lastId}\nevent: reset\ndata: {}\n\n`))
      else writer.send(Buffer.concat(missed))
      missed = undefined
      // The id as well: else who sees little would come back with an old one.
      const heartbeat = setInterval(
        () => writer.send(Buffer.from(`: still here\nid: ${news.lastId}\n\n`)),
        HEARTBEAT_MS,
      )
      opened.defer(() => clearInterval(heartbeat))
      const all = opened.move()
      const end = () => all.dispose()
      response.once('close', end)
      hold.signal.addEventListener('abort', end, { once: true })
      if (hold.signal.aborted || response.destroyed) end()
    },
  )
}

/** What a person is told of. */
function wish(person: Person, only: readonly NewsItem['is'][] | undefined): (item: NewsItem) => boolean {
  const names = new Set<NewsItem['is']>(only ?? KINDS)
  if (!may(person, 'flow')) {
    names.delete('keeper')
    names.delete('health')
  }
  if (!may(person, 'notices')) names.delete('notice')
  return (item) => {
    if (!names.has(item.is)) return false
    switch (item.is) {
      case 'detection':
        return isInScope(person.scope, item.detection)
      case 'removed':
      case 'camera':
        return isInScope(person.scope, item.camera)
      case 'device':
        return seesDevice(person.scope, item)
      // What belongs to no camera is asked for by its id, and found by who may see it.
      case 'notice':
        return item.camera === undefined || isInScope(person.scope, item.camera)
      default:
        return true
    }
  }
}

function dataOf(item: NewsItem): unknown {
  switch (item.is) {
    case 'detection':
      return detectionOf(item.detection, false)
    case 'removed': {
      const { site, device, camera } = item.camera
      return { id: item.id, site, device, camera }
    }
    case 'camera': {
      const { newest: _newest, ...camera } = cameraOf(item.camera, undefined)
      return camera
    }
    case 'keeper':
      return keeperOf(item.keeper)
    case 'device':
      return { site: item.site, device: item.device }
    case 'health':
    case 'notice':
      return { id: item.id, camera: item.camera ?? null }
  }
}

/** Gathers what comes within a moment, so that thousands a second are tens of packets. */
class Writer {
  readonly #response: ServerResponse
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #timer: NodeJS.Timeout | undefined

  constructor(response: ServerResponse) {
    this.#response = response
  }

  send(text: Buffer): void {
    this.#waiting.push(text)
    this.#waitingBytes += text.byteLength
    if (this.#waitingBytes + this.#response.writableLength > UNREAD_BYTES_MAX) this.#response.destroy()
    else this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS)
  }

  #flush(): void {
    this.#timer = undefined
    const text = Buffer.concat(this.#waiting)
    this.#waiting = []
    this.#waitingBytes = 0
    if (text.byteLength > 0 && !this.#response.destroyed) this.#response.write(text)
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#flush()
    this.#response.end()
  }
}
