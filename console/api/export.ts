import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { failure } from '../../lib/errors.ts'
import type { Context } from '../context.ts'
import { content, problems } from './answers.ts'
import { asked } from './asked.ts'
import { type Detection, detectionOf, filterOf, filterSchema } from './detections.ts'
import type { Api } from './server.ts'

/** Detections as a file, of any size: `/detections.csv`, `/detections.ndjson`. A page of the database is in memory, no more. */

/** How long the database may look for the next page; a reader gets what the server grants everybody. */
const SEARCH_MS_MAX = 5 * 60_000
const READER_MS_MAX = 30_000
/** When to ask again while others export. */
const RETRY_AFTER_S = 10

const FORMATS = {
  csv: {
    mediaType: 'text/csv; charset=utf-8',
    summary: 'All detections that match, as CSV (RFC 4180), newest first',
    description:
      'Times are in ISO 8601, UTC. Text that a spreadsheet would read as a formula starts with an apostrophe.',
    operationId: 'exportCsv',
    head: () => csvLine(COLUMNS.map(([name]) => name)),
    line: (detection: Detection) => csvLine(COLUMNS.map(([, value]) => value(detection))),
  },
  ndjson: {
    mediaType: 'application/x-ndjson',
    summary: 'All detections that match, one line of JSON each (a Detection), newest first',
    description: 'If the connection breaks off, the file is incomplete.',
    operationId: 'exportNdjson',
    head: () => '',
    line: (detection: Detection) => `${JSON.stringify(detection)}\n`,
  },
} as const

const iso = (ms: number) => new Date(ms).toISOString()

type Cell = string | number | boolean | null

const COLUMNS: readonly (readonly [name: string, value: (detection: Detection) => Cell])[] = [
  ['id', ({ id }) => id],
  ['at', ({ atMs }) => iso(atMs)],
  ['captured_at', ({ capturedAtMs }) => iso(capturedAtMs)],
  ['clock_sane', ({ clockSane }) => clockSane],
  ['stored_at', ({ storedAtMs }) => iso(storedAtMs)],
  ['site', ({ site }) => site],
  ['device', ({ device }) => device],
  ['camera', ({ camera }) => camera],
  ['score', ({ score }) => score],
  ['masked', ({ masked }) => masked],
  [
    'attributes',
    ({ attributes }) => attributes.map(({ name, label, score }) => `${name}:${label}:${score}`).join('; '),
  ],
  ['track', ({ track }) => track],
  ['quality', ({ quality }) => quality?.total ?? null],
  ['box_left', ({ box }) => box[0]],
  ['box_top', ({ box }) => box[1]],
  ['box_width', ({ box }) => box[2]],
  ['box_height', ({ box }) => box[3]],
  ['frame_width', ({ frame }) => frame[0]],
  ['frame_height', ({ frame }) => frame[1]],
  ['model', ({ model }) => model],
  ['file', ({ file }) => file],
  ['bytes', ({ bytes }) => bytes],
  ['sha256', ({ sha256 }) => sha256],
  ['picture', ({ picture }) => picture],
  ['reviewed', ({ reviewed }) => reviewed],
]

export function exportRoutes(api: Api, { access, config, database }: Context): void {
  let running = 0
  for (const name of ['csv', 'ndjson'] as const) {
    const { mediaType, summary, description, operationId, head, line } = FORMATS[name]
    api.get(
      `/detections.${name}`,
      {
        config: { right: ['see', 'export'] },
        exposeHeadRoute: false,
        schema: {
          operationId,
          tags: ['detections'],
          summary,
          description,
          querystring: filterSchema,
          response: { 200: content(mediaType, summary), ...problems() },
        },
      },
      async (request, reply) => {
        const caller = asked(access, request)
        if (running >= config.limits.exportsMax) throw busy(reply, config.limits.exportsMax)
        running += 1
        const hold = access.hold(caller, 'export')
        const free = once(() => {
          running -= 1
          hold[Symbol.dispose]()
        })
        try {
          await access.record(caller, { what: 'detections.export', target: name, detail: request.query })
          const signal = AbortSignal.any([hold.signal, request.signal])
          const pages = database.export(filterOf(request.query, caller.person), caller.rows, signal)
          const text = async function* () {
            yield head()
            for await (const rows of patiently(pages, reply)) {
              signal.throwIfAborted()
              const reviewed = await database.reviewed(
                caller.person.name,
                rows.map(({ id }) => id),
              )
              yield rows.map((row) => line(detectionOf(row, reviewed.has(row.id)))).join('')
            }
          }
          const stream = Readable.from(text(), { objectMode: false })
          stream.once('close', free)
          reply.raw.once('close', () => stream.destroy())
          return reply
            .type(mediaType)
            .header('content-disposition', `attachment; filename="detections.${name}"`)
            .header('cache-control', 'no-store')
            .send(stream)
        } catch (error) {
          free()
          throw error
        }
      },
    )
  }
}

/** While the database looks for something rare, the connection is silent, and that is nobody's fault. */
async function* patiently<Page>(pages: AsyncIterable<Page>, reply: FastifyReply): AsyncGenerator<Page> {
  const { socket } = reply.raw
  try {
    socket?.setTimeout(SEARCH_MS_MAX)
    for await (const page of pages) {
      socket?.setTimeout(READER_MS_MAX)
      yield page
      socket?.setTimeout(SEARCH_MS_MAX)
    }
  } finally {
    socket?.setTimeout(READER_MS_MAX)
  }
}

function busy(reply: FastifyReply, most: number): Error {
  reply.header('retry-after', RETRY_AFTER_S)
  return failure('TOO_MANY', `${most} exports are running. Try again in a moment.`)
}

function once(free: () => void): () => void {
  let isDone = false
  return () => {
    if (!isDone) free()
    isDone = true
  }
}

const csvLine = (cells: readonly Cell[]) => `${cells.map(csvCell).join(',')}\r\n`

/** What spreadsheets take for the beginning of a formula (OWASP, CSV injection). */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/

/** Pure. */
export function csvCell(cell: Cell): string {
  if (cell === null) return ''
  if (typeof cell !== 'string') return String(cell)
  const text = FORMULA.test(cell) ? `'${cell}` : cell
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
