import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import { notFound } from '../access/demand.ts'
import type { Context, Picture } from '../context.ts'
import { content, problems } from './answers.ts'
import { asked } from './asked.ts'
import { cameraParamsSchema } from './cameras.ts'
import { wholeParameter } from './query.ts'
import type { Api } from './server.ts'
import { Views } from './views.ts'

/** What a camera sees now: one picture, or one after the other for `<img>`. */

const AGE_S = 10
const AGE_S_MAX = 3600
const BOUNDARY = 'sightline-picture'
/** The server closes what is silent for 30 s; a camera may be silent for longer. */
const HEARTBEAT_MS = 15_000

const pictureQuerySchema = z.strictObject({
  maxAge: wholeParameter(
    `A picture that is older, in seconds, is asked for anew; ${AGE_S} where it is left out.`,
    {
      min: 0,
      max: AGE_S_MAX,
    },
  ).default(AGE_S),
})

const tags = ['cameras']

export function liveRoutes(api: Api, { access, config, fleet, live, original }: Context): void {
  const views = Views.of(access)

  api.get(
    '/cameras/:site/:device/:camera/picture.jpg',
    {
      config: { right: ['see', 'live'] },
      schema: {
        operationId: 'getCameraPicture',
        tags,
        summary: 'What the camera sees now, JPEG',
        description:
          'X-Captured-At-Ms says when it was taken, by the clock of the device; X-Received-At-Ms when it came. If no picture comes within 5 s: 404.',
        params: cameraParamsSchema,
        querystring: pictureQuerySchema,
        response: { 200: content('image/jpeg', 'JPEG'), ...problems(404, 409, 504) },
      },
    },
    async (request, reply) => {
      if (!fleet.camera(request.params)) throw notFound()
      const picture = await live.picture(request.params, request.query.maxAge * 1000, request.signal)
      if (!picture) throw notFound()
      return reply
        .headers({ ...timesOf(picture), 'cache-control': 'no-store' })
        .type('image/jpeg')
        .send(picture.bytes)
    },
  )

  for (const { path, right, pictures, operationId, summary } of [
    {
      path: 'live.mjpg',
      right: ['see', 'live'],
      pictures: live,
      operationId: 'followCamera',
      summary: 'What the camera sees, picture after picture, for <img>; with its effect',
    },
    {
      path: 'original.mjpg',
      right: ['see', 'live', 'recordings'],
      pictures: original,
      operationId: 'followOriginal',
      summary: 'The same without the effect of the camera',
    },
  ] as const)
    api.get(
      `/cameras/:site/:device/:camera/${path}`,
      {
        config: { right },
        exposeHeadRoute: false,
        schema: {
          operationId,
          tags,
          summary,
          description: `multipart/x-mixed-replace; a part is a JPEG, with X-Captured-At-Ms and X-Received-At-Ms. At most ${config.live.rateMax} a second, fewer to a slow reader.`,
          params: cameraParamsSchema,
          response: { 200: content('multipart/x-mixed-replace', 'JPEGs'), ...problems(404) },
        },
      },
      async (request, reply) => {
        const params = request.params as z.output<typeof cameraParamsSchema>
        const caller = asked(access, request)
        if (!fleet.camera(params)) throw notFound()
        // Who sees through an effect is written down.
        if (pictures === original) await views.looked(caller, params, Date.now(), 'original.view')
        using opened = new DisposableStack()
        const hold = opened.use(access.hold(caller, pictures === original ? 'recordings' : 'live', params))
        const viewer = opened.use(new Viewer(reply.raw, 1000 / config.live.rateMax))
        opened.use(pictures.watch(params, (picture) => viewer.show(picture)))
        reply.hijack()
        viewer.begin({ ...(reply.getHeaders() as Record<string, string>), 'cache-control': 'no-store' })
        const all = opened.move()
        const end = () => all.dispose()
        reply.raw.once('close', end)
        hold.signal.addEventListener('abort', end, { once: true })
        if (hold.signal.aborted || reply.raw.destroyed) end()
      },
    )
}

function timesOf({ capturedAtMs, receivedAtMs }: Picture): Record<string, string> {
  return {
    ...(capturedAtMs === undefined ? {} : { 'x-captured-at-ms': String(capturedAtMs) }),
    'x-received-at-ms': String(receivedAtMs),
  }
}

/** Writes the newest picture when the one before has gone out and its time has come; what came between is passed over. */
class Viewer implements Disposable {
  readonly #response: ServerResponse
  readonly #intervalMs: number
  #newest: Picture | undefined
  #hasBegun = false
  #isFull = false
  #nextAtMs = 0
  #timer: NodeJS.Timeout | undefined
  #heartbeat: NodeJS.Timeout | undefined

  constructor(response: ServerResponse, intervalMs: number) {
    this.#response = response
    this.#intervalMs = intervalMs
  }

  begin(headers: Record<string, string>): void {
    const response = this.#response
    response.writeHead(200, {
      ...headers,
      'content-type': `multipart/x-mixed-replace; boundary=${BOUNDARY}`,
      'x-accel-buffering': 'no',
    })
    response.write(`--${BOUNDARY}\r\n`)
    response.on('drain', () => {
      this.#isFull = false
      this.#write()
    })
    // A header of the part that is to come.
    this.#heartbeat = setInterval(() => {
      if (!this.#isFull) response.write('X-Waiting: 1\r\n')
    }, HEARTBEAT_MS)
    this.#hasBegun = true
    this.#write()
  }

  show(picture: Picture): void {
    this.#newest = picture
    this.#write()
  }

  #write(): void {
    const picture = this.#newest
    if (!picture || !this.#hasBegun || this.#isFull || this.#timer || this.#response.destroyed) return
    const waitMs = this.#nextAtMs - performance.now()
    if (waitMs > 0) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.#write()
      }, waitMs)
      return
    }
    this.#newest = undefined
    this.#nextAtMs = performance.now() + this.#intervalMs
    this.#heartbeat?.refresh()
    const headers = {
      'content-type': 'image/jpeg',
      'content-length': String(picture.bytes.byteLength),
      ...timesOf(picture),
    }
    const response = this.#response
    response.cork()
    response.write(
      `${Object.entries(headers)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('')}\r\n`,
    )
    response.write(picture.bytes)
    // At once: browsers show a picture when they see its end.
    this.#isFull = !response.write(`\r\n--${BOUNDARY}\r\n`)
    response.uncork()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    clearInterval(this.#heartbeat)
    this.#newest = undefined
    if (this.#hasBegun) this.#response.end()
  }
}
