import type { Detection } from '../api/detections.ts'
import type { KeptStretches } from '../api/keeps.ts'
import type { ExportPlan } from '../api/recording-export.ts'
import type { RecordedCameras, RecordedDays } from '../api/recordings.ts'
import type { RecordingChain, RecordingVerified } from '../api/signatures.ts'
import type { Timeline } from '../api/timeline.ts'
import { detections, queryText, request } from './api.ts'

/** Recordings, of the API. A camera is named `site/device/camera`. */

const BASE = '/api/v1'
/** An hour of chunks, read from a bucket that is far away. */
const VERIFY_MS_MAX = 5 * 60_000

export const cameras = (signal?: AbortSignal) => request<RecordedCameras>('GET', '/recordings', { signal })

export const timeline = (camera: readonly string[], span: Span, signal?: AbortSignal) =>
  request<Timeline>('GET', '/timeline', { query: { camera, ...spanQuery(span) }, signal })

interface Span {
  readonly fromMs: number
  readonly toMs: number
}

const spanQuery = ({ fromMs, toMs }: Span) => ({
  from: String(Math.floor(fromMs)),
  to: String(Math.ceil(toMs)),
})

/** What each day (UTC) of a camera has. */
export const days = (camera: string, span: Span, signal?: AbortSignal) =>
  request<RecordedDays>('GET', '/recordings/days', { query: { camera, ...spanQuery(span) }, signal })

export const playlistAddress = (camera: string, fromMs: number, toMs: number) =>
  `${BASE}/playlist.m3u8${queryText({ camera, ...spanQuery({ fromMs, toMs }) })}`

/** What a file of a stretch would have: one part, or more where the picture changes. */
export const exportPlan = (camera: string, span: Span, signal?: AbortSignal) =>
  request<ExportPlan>('GET', '/recordings/export', { query: { camera, ...spanQuery(span) }, signal })
/** @param isKept false: no longer */
export const keep = (camera: string, { fromMs, toMs }: Span, isKept: boolean) =>
  request<KeptStretches>('POST', '/recordings/kept', { body: { camera, fromMs, toMs, keep: isKept } })
/** By what the database knows. */
export const chain = (camera: string, span: Span, signal?: AbortSignal) =>
  request<RecordingChain>('GET', '/recordings/chain', { query: { camera, ...spanQuery(span) }, signal })
/** Reads every chunk. */
export const verify = (camera: string, { fromMs, toMs }: Span, signal?: AbortSignal) =>
  request<RecordingVerified>('POST', '/recordings/verify', {
    body: { camera, fromMs, toMs },
    signal,
    answerMsMax: VERIFY_MS_MAX,
  })

const NO_ID = '00000000-0000-7000-8000-000000000000'
const LAST_ID = 'ffffffff-ffff-7fff-bfff-ffffffffffff'

/** The nearest face of these cameras after a moment, or before it. */
export async function faceBeside(
  camera: readonly string[],
  atMs: number,
  to: 'next' | 'previous',
): Promise<Detection | undefined> {
  const at = Math.floor(atMs)
  const place = to === 'next' ? { after: `${at}.${LAST_ID}` } : { cursor: `${at}.${NO_ID}` }
  const { items } = await detections({ camera: [...camera], limit: '1', ...place })
  return items[0]
}

export const facePicture = (id: string) => `${BASE}/detections/${id}/picture`
