import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { ID_PATTERN } from '../../wire/id.ts'
import type { Database } from '../database/database.ts'
import { type Detection, PAGE_LIMIT_MAX, readCursor } from '../database/detection.ts'
import type { Scope as RowScope } from '../database/scope.ts'
import { type Html, html, sendPage } from './html.ts'
import type { Scope } from './may.ts'
import { shareRecordings, showRecording } from './share-recordings.ts'
import type { OpenShare, Shares } from './shares.ts'

/** `/s/SECRET`: what somebody without an account sees of a share, and nothing else. */

/** On one page. */
const FACES_MAX = 60

export interface SharePagesOptions {
  readonly shares: Shares
  readonly database: Database
  readonly bucket: Bucket
  readonly log: Log
  readonly requestsPerMinuteMax: number
  /** Of a recording as one file. */
  readonly exportBytesMax: number
}

export async function sharePages(app: FastifyInstance, options: SharePagesOptions): Promise<void> {
  const { shares, database, bucket, log } = options
  let unforeseen: unknown
  const complain = throttled((count) =>
    log.error({ count, error: String(unforeseen) }, 'could not show what is shared'),
  )
  await app.register(async (pages) => {
    await pages.register(rateLimit, {
      max: options.requestsPerMinuteMax,
      timeWindow: 60_000,
      errorResponseBuilder: (_request, { statusCode }) =>
        Object.assign(new Error('Too many requests.'), { statusCode }),
    })
    pages.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
      const status = error.statusCode ?? 503
      if (status >= 500) {
        unforeseen = error
        complain()
      }
      return sayOnly(reply.code(status), 'This cannot be shown now', 'Try again in a moment.')
    })

    pages.get<{ Params: { secret: string }; Querystring: { before?: unknown } }>(
      '/s/:secret',
      async (request, reply) => {
        const { secret } = request.params
        const before = typeof request.query.before === 'string' ? request.query.before : undefined
        const open = await shares.open(secret, before === undefined)
        if (open && 'recording' in open.share.target)
          return showRecording(reply, secret, open, open.share.target)
        if (!open || (before !== undefined && readCursor(before) === undefined)) return nothing(reply)
        return showFaces(reply, secret, open, await facesOf(database, open, before))
      },
    )

    pages.get<{ Params: { secret: string; name: string } }>(
      '/s/:secret/picture/:name',
      async (request, reply) => {
        const { secret, name } = request.params
        const open = await shares.open(secret, false)
        const id = name.replace(/\.jpg$/, '')
        if (!open || !ID_PATTERN.test(id)) return nothing(reply)
        const face = await database.detection(id, rowsOf(open.scope))
        if (!face || !(await isIn(database, open, face))) return nothing(reply)
        const bytes = await bucket.read(face.key, request.signal)
        if (!bytes) return nothing(reply)
        // Not kept: it may be taken back.
        return reply.header('cache-control', 'no-store').type('image/jpeg').send(bytes)
      },
    )
    await shareRecordings(pages, options)
  })
}

interface Faces {
  readonly faces: readonly Detection[]
  readonly next?: string
}

async function facesOf(
  database: SharePagesOptions['database'],
  { share, scope }: OpenShare,
  before: string | undefined,
): Promise<Faces> {
  const { target } = share
  if ('recording' in target) return { faces: [] }
  if ('detection' in target) {
    const face = await database.detection(target.detection, rowsOf(scope))
    return { faces: face ? [face] : [] }
  }
  const { detections, next } = await database.page({
    filter: target.filter,
    scope: rowsOf(scope),
    before,
    limit: FACES_MAX,
  })
  return { faces: detections, next }
}

/** Whether a face is one of the share's: of a search, whether the search finds it among those of its millisecond. */
async function isIn(
  database: SharePagesOptions['database'],
  { share, scope }: OpenShare,
  face: Detection,
): Promise<boolean> {
  const { target } = share
  if ('recording' in target) return false
  if ('detection' in target) return target.detection === face.id
  const { filter } = target
  const { atMs, id } = face
  if (atMs < (filter.fromMs ?? 0) || atMs >= filter.beforeMs) return false
  const moment = { ...filter, fromMs: atMs, beforeMs: atMs + 1 }
  let before: string | undefined
  do {
    const page = await database.page({
      filter: moment,
      scope: rowsOf(scope),
      before,
      limit: PAGE_LIMIT_MAX,
    })
    if (page.detections.some((one) => one.id === id)) return true
    before = page.next
  } while (before !== undefined)
  return false
}

export const rowsOf = (scope: Scope): RowScope =>
  scope.all ? scope : { all: false, sites: [...scope.sites], cameras: [...scope.cameras] }

function showFaces(
  reply: FastifyReply,
  secret: string,
  { share }: OpenShare,
  { faces, next }: Faces,
): FastifyReply {
  const isOne = 'detection' in share.target
  const more =
    next === undefined
      ? ''
      : html`<p><a class="button second" rel="next" href="/s/${secret}?before=${next}">Older faces</a></p>`
  return sendPage(
    reply,
    `${share.name} - Sightline`,
    html`<main>
<h1>${share.name}</h1>
<p class="quiet">Anyone who has this link sees this page, until ${timeText(share.expiresAtMs)}.</p>
${faces.length === 0 && next === undefined ? html`<p>The faces of this link are no longer available.</p>` : ''}
<ul class="${isOne ? 'faces one' : 'faces'}">
${faces.map((face) => faceItem(secret, face))}
</ul>
${more}
</main>`,
  )
}

function faceItem(
  secret: string,
  { id, site, device, camera, capturedAtMs, masked, attributes }: Detection,
): Html {
  const time = timeText(capturedAtMs)
  return html`<li><figure>
<img src="/s/${secret}/picture/${id}.jpg" alt="Face at ${time}" loading="lazy">
<figcaption>${time}<br>${site}/${device}/${camera}${masked === true ? html`<br>masked` : ''}${attributes.map(
    ({ name, label, score }) => html`<br><bdi>${name}: ${label}</bdi> (${Math.round(score * 100)} %)`,
  )}</figcaption>
</figure></li>
`
}

export const timeText = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`

/** The same for an address that never was, and for one that ended. */
export function nothing(reply: FastifyReply): FastifyReply {
  return sayOnly(
    reply.code(404),
    'Nothing here',
    'This link is no longer valid. Ask the sender for a new one.',
  )
}

export function tooLong(reply: FastifyReply): FastifyReply {
  return sayOnly(
    reply.code(409),
    'This is too long for one file',
    'A browser that plays HLS plays it. Or ask the sender for a link to a shorter stretch.',
  )
}

function sayOnly(reply: FastifyReply, title: string, text: string): FastifyReply {
  return sendPage(reply, title, html`<main class="narrow"><h1>${title}</h1><p>${text}</p></main>`)
}
