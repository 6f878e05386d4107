import type { Detection } from '../api/detections.ts'
import type { RecordedCameras, RecordedDays } from '../api/recordings.ts'
import type { Timeline } from '../api/timeline.ts'
import { detections, queryText, request } from './api.ts'

/** Recordings, of the API. A camera is named `site/device/camera`. */

const BASE = '/api/v1'

export const cameras = (signal?: AbortSignal) => request<RecordedCameras>('GET', '/recordings', { signal })

export const timeline = (
  camera: readonly string[],
  span: { readonly fromMs: number; readonly toMs: number },
  signal?: AbortSignal,
) => request<Timeline>('GET', '/timeline', { query: { camera, ...spanQuery(span) }, signal })

const spanQuery = ({ fromMs, toMs }: { readonly fromMs: number; readonly toMs: number }) => ({
  from: String(Math.floor(fromMs)),
  to: String(Math.ceil(toMs)),
})

/** What each day (UTC) of a camera has. */
export const days = (
  camera: string,
  span: { readonly fromMs: number; readonly toMs: number },
  signal?: AbortSignal,
) => request<RecordedDays>('GET', '/recordings/days', { query: { camera, ...spanQuery(span) }, signal })

export const playlistAddress = (camera: string, fromMs: number, toMs: number) =>
  `${BASE}/playlist.m3u8${queryText({ camera, ...spanQuery({ fromMs, toMs }) })}`

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
