import type { Page } from 'playwright-core'
import { Registry } from 'prom-client'
import sharp from 'sharp'
import type { Test } from 'tap'
import { sharePages } from '../../console/access/share-pages.ts'
import { signInPages } from '../../console/access/sign-in-pages.ts'
import { consoleApi } from '../../console/api/server.ts'
import type { KeeperSeen } from '../../console/context.ts'
import { type PublishAddress, servePages } from '../../console/pages.ts'
import { PLAIN_SEAL, type Seal } from '../../device/link/seal.ts'
import { FACE_BOX, portraitSvg } from '../../device/sources/portrait.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { boxesOf, type ClipMetadata, type GapReason, readClip } from '../../wire/clip.ts'
import { type CropMetadata, writeCrop } from '../../wire/crop.ts'
import { newId } from '../../wire/id.ts'
import type { KeeperReport, QueueBooks } from '../../wire/keepers.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { cropMetadata } from '../kit/crops.ts'
import { makeRealClips } from '../kit/real-clips.ts'
import {
  type ApiServer,
  apiServer,
  NORTH,
  PASSWORD,
  SOUTH,
  storedClipOf,
  storedOf,
  YARD,
} from './api-server.ts'

/** The pages over the real API, database and access; what comes over MQTT is said by the test. */
export interface Recorded extends CameraAddress {
  readonly startMs: number
  /** Of 3 s each, at most CHUNKS. */
  readonly chunks: number
  readonly gap?: { readonly before: number; readonly ms: number; readonly why: GapReason }
}

export interface PagesServer {
  readonly api: ApiServer
  readonly url: string
  /** Puts drawn portraits into bucket and database. @returns what is known of each, the newest first */
  seen(count: number, settings?: Partial<CropMetadata>): Promise<readonly CropMetadata[]>
  /** Puts chunks that play into bucket and database. @returns what is known of each, the earliest first */
  recorded(clips: Recorded, seal?: Seal): Promise<readonly ClipMetadata[]>
  /** Signs a browser in, by the form that people use. */
  signIn(page: Page, name: string, next?: string): Promise<void>
}

export async function pagesServer(
  t: Test,
  publish: readonly PublishAddress[] = [],
  settings: Record<string, unknown> = {},
  more: Parameters<typeof consoleApi>[2] = [],
): Promise<PagesServer> {
  const api = await apiServer(t, settings, more)
  const { context } = api
  const http = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    metrics: new Registry(),
    health: () => ({ ok: true, checks: {} }),
    ownLogin: async () => false,
    routes: async (app) => {
      await consoleApi(app, context, more)
      await signInPages(app, api.access)
      await sharePages(app, {
        ...{ shares: api.access.shares, database: api.database, bucket: api.bucket },
        ...{ log: context.log, requestsPerMinuteMax: 1000 },
        exportBytesMax: api.context.config.recordings.exportBytesMax,
      })
      await servePages(app, publish)
    },
  })
  t.teardown(() => http[Symbol.asyncDispose]())
  let seed = 0
  return {
    api,
    url: http.url,
    async seen(count, settings = {}) {
      const crops: CropMetadata[] = []
      for (let index = 0; index < count; index += 1) {
        seed += 1
        const capturedAtMs = settings.capturedAtMs ?? Date.now() - index * 47_000
        const metadata = cropMetadata({
          ...[NORTH, SOUTH, YARD][seed % 3],
          box: [
            900 + FACE_BOX.left * 240,
            300 + FACE_BOX.top * 290,
            FACE_BOX.width * 240,
            FACE_BOX.height * 290,
          ],
          region: [900, 300, 240, 290],
          frame: [1920, 1080],
          score: 0.7 + (seed % 30) / 100,
          masked: seed % 4 === 0 ? undefined : seed % 4 === 1,
          quality: { total: 0.8, size: 0.9, sharpness: 0.7, frontality: 0.8 },
          ...settings,
          capturedAtMs,
        })
        const jpeg = await sharp(Buffer.from(portraitSvg(seed, 240)))
          .jpeg({ quality: 82 })
          .toBuffer()
        const payload = writeCrop(jpeg, metadata)
        await api.bucket.create({
          key: objectKey(metadata, capturedAtMs),
          body: payload,
          contentType: '',
          cacheControl: '',
        })
        await api.database.apply([storedOf(metadata, payload)], 'cloud')
        crops.push(metadata)
      }
      return crops
    },
    async recorded(clips, seal = PLAIN_SEAL) {
      const made = (await chunksOf(clips)).map((clip) => sealed(clip, seal))
      const stored = made.map(({ metadata, payload }) => storedClipOf(metadata, payload))
      for (const [index, { payload }] of made.entries())
        await api.bucket.create({
          key: stored[index]?.key ?? '',
          body: payload,
          contentType: 'video/mp4',
          cacheControl: '',
        })
      await api.database.apply(stored, 'cloud')
      return made.map(({ metadata }) => metadata)
    },
    async signIn(page, name, next = '/') {
      await page.goto(`${http.url}/signin?next=${encodeURIComponent(next)}`)
      await page.fill('input[name=name]', name)
      await page.fill('input[name=password]', PASSWORD)
      await page.click('button[type=submit], button:not([type])')
      await page.waitForURL(`${http.url}${next}`)
    },
  }
}

/** Encoded once: every recording of the tests shows the same. */
const CHUNKS = 24
const CHUNK_MS = 3000
let encoding: ReturnType<typeof makeRealClips> | undefined

/** The first of them, as another camera's, of another time; behind a gap a run of their own. */
async function chunksOf({ startMs, chunks, gap, site, device, camera }: Recorded) {
  encoding ??= makeRealClips({ chunks: CHUNKS, chunkMs: CHUNK_MS, framesPerSecond: 10 })
  const all = await encoding
  if (chunks > all.length) throw new RangeError(`at most ${all.length} chunks`)
  const runs = [newId(), newId()]
  return all.slice(0, chunks).map(({ metadata, payload }, number) => {
    const isLate = gap !== undefined && number >= gap.before
    const atMs = startMs + number * CHUNK_MS + (isLate ? gap.ms : 0)
    return {
      payload,
      metadata: {
        ...metadata,
        ...{ site, device, camera, capturedAtMs: atMs, endMs: atMs + CHUNK_MS, id: newId() },
        ...{ run: runs[isLate ? 1 : 0] ?? '', sequence: isLate ? number - gap.before : number },
        gap:
          number === 0
            ? ({ fromMs: null, why: 'start' } as const)
            : number === gap?.before
              ? { fromMs: atMs - gap.ms, why: gap.why }
              : undefined,
      },
    }
  })
}

/** As its device would have sent it. */
function sealed({ metadata, payload }: { metadata: ClipMetadata; payload: Buffer }, seal: Seal) {
  const { initBytes } = metadata
  const ours = boxesOf(payload).boxes.find(({ type }) => type === 'uuid')
  if (!ours) throw new Error('the chunk has no metadata')
  const fragments = payload.subarray(ours.at + ours.bytes)
  const signed = seal.clip(payload.subarray(0, initBytes), [fragments], metadata)
  const reading = readClip(signed)
  if (!('clip' in reading)) throw new Error(reading.detail)
  return { metadata: reading.clip, payload: signed }
}

export const books = (name: string, settings: Partial<QueueBooks> = {}): QueueBooks => ({
  name,
  accepted: 1000,
  forwarded: 1000,
  pending: 0,
  dropped: {},
  bytes: 0,
  oldestAtMs: null,
  ...settings,
})

export function keeper(
  report: Pick<KeeperReport, 'program' | 'name'> & Partial<KeeperReport>,
  seen: Partial<KeeperSeen> = {},
): KeeperSeen {
  return {
    report: {
      v: 1,
      keeper: `${report.program}-${report.name.replace('/', '-')}`,
      version: '0.1.0',
      startedAtMs: Date.now() - 86_400_000,
      atMs: Date.now(),
      everyMs: 10_000,
      ok: true,
      checks: { broker: 'connected' },
      queues: [],
      links: [],
      ...report,
    },
    seenAtMs: Date.now(),
    isSilent: false,
    forwardedPerS: {},
    ...seen,
  }
}

/** Two sites, one of them cut off: what waits there, waits for ten minutes. */
export function wholeLine(): KeeperSeen[] {
  const link = (name: string, to: string, clientId: string, connected = true) => ({
    name,
    to,
    connected,
    clientId,
  })
  return [
    keeper(
      {
        program: 'device',
        name: 'north/pi',
        queues: [books('pending'), books('outbox', { bytes: 0 })],
        links: [link('broker', 'edge.north:1883', 'sightline-device-north-pi')],
      },
      { forwardedPerS: { pending: 2.4, outbox: 0.3 } },
    ),
    keeper(
      {
        program: 'device',
        name: 'south/pi',
        queues: [books('pending', { dropped: { full: 12 }, accepted: 1012 })],
        links: [link('broker', 'edge.south:1883', 'sightline-device-south-pi')],
      },
      { forwardedPerS: { pending: 1.1 } },
    ),
    keeper(
      {
        program: 'broker',
        name: 'edge-north',
        queues: [
          books('bridge/cloud'),
          books('bridge/cloud/clips'),
          books('quarantine/cloud'),
          books('session/sightline-device-north-pi'),
        ],
        links: [
          link('bridge/cloud', 'cloud.example:8883', 'bridge-north'),
          link('bridge/cloud/clips', 'cloud.example:8883', 'bridge-north-clips'),
        ],
        certificates: [{ name: 'edge.crt', endsAtMs: Date.now() + 9 * 86_400_000 }],
      },
      { forwardedPerS: { 'bridge/cloud': 2.4, 'bridge/cloud/clips': 0.3 } },
    ),
    keeper({
      program: 'broker',
      name: 'edge-south',
      queues: [
        books('bridge/cloud', {
          accepted: 2204,
          pending: 1204,
          bytes: 24_000_000,
          oldestAtMs: Date.now() - 600_000,
        }),
        books('session/sightline-device-south-pi'),
      ],
      links: [link('bridge/cloud', 'cloud.example:8883', 'bridge-south', false)],
    }),
    keeper(
      {
        program: 'broker',
        name: 'cloud',
        queues: [
          books('session/sightline-subscriber'),
          books('session/sightline-subscriber-clips'),
          books('session/sightline-console'),
        ],
        links: [],
      },
      {
        forwardedPerS: {
          'session/sightline-subscriber': 2.4,
          'session/sightline-subscriber-clips': 0.3,
          'session/sightline-console': 2.4,
        },
      },
    ),
    keeper(
      {
        program: 'subscriber',
        name: 'subscriber',
        queues: [books('inbox'), books('clips'), books('quarantine')],
        links: [link('broker', 'cloud.example:1884', 'sightline-subscriber')],
        checks: { broker: 'connected', bucket: 'ok' },
        counts: { stored: 48_212 },
      },
      { forwardedPerS: { inbox: 2.4, clips: 0.3 } },
    ),
    keeper(
      {
        program: 'console',
        name: 'console',
        queues: [books('inbox')],
        links: [link('broker', 'cloud.example:1884', 'sightline-console')],
      },
      { forwardedPerS: { inbox: 2.4 } },
    ),
  ]
}
