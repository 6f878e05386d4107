import type { Attributes } from '../api/attributes.ts'
import type { Camera, Cameras, Command } from '../api/cameras.ts'
import type { Counts, CountsQuery, Overview } from '../api/counts.ts'
import type {
  DetectionDetail,
  DetectionFilterQuery,
  DetectionsPage,
  DetectionsQuery,
  Forgotten,
  Reviews,
  ReviewsDone,
} from '../api/detections.ts'
import type { Devices } from '../api/devices.ts'
import type { HealthEvent, HealthEventsPage, HealthEventsQuery } from '../api/health-events.ts'
import type { Keepers } from '../api/keepers.ts'
import type { Problem as ProblemDetails } from '../api/problem.ts'

/** The API, typed by the schemas that it validates with. Types only: none of the server's code comes here. */

const BASE = '/api/v1'
const ANSWER_MS_MAX = 60_000

/** What went wrong, as the server says it (RFC 9457), or that it could not be reached. */
export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly title: string
  readonly detail: string

  constructor(details: Pick<ProblemDetails, 'status' | 'code' | 'title' | 'detail'>) {
    super(details.detail)
    this.status = details.status
    this.code = details.code
    this.title = details.title
    this.detail = details.detail
  }
}

/** Values as the API reads them; of several one has to hold. */
type Query = Readonly<Record<string, string | readonly string[] | undefined>>
type CameraAddress = Pick<Camera, 'site' | 'device' | 'camera'>

export function queryText(query: Query): string {
  const text = new URLSearchParams()
  for (const [name, value] of Object.entries(query))
    for (const one of typeof value === 'string' ? [value] : (value ?? []))
      if (one !== '') text.append(name, one)
  return text.size === 0 ? '' : `?${text}`
}

/** Errors: Problem. Where nobody is signed in it leads to the sign-in page, and never returns. */
export async function request<T>(
  method: string,
  path: string,
  {
    query = {},
    body,
    signal,
    answerMsMax = ANSWER_MS_MAX,
  }: { query?: Query; body?: unknown; signal?: AbortSignal; answerMsMax?: number } = {},
): Promise<T> {
  const timeout = AbortSignal.timeout(answerMsMax)
  let response: Response
  try {
    response = await fetch(`${BASE}${path}${queryText(query)}`, {
      method,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Problem({
      status: 0,
      code: 'UNREACHABLE',
      title: 'The console does not answer.',
      detail: 'Check the connection to it, and whether it runs. What you see is as it was before.',
    })
  }
  if (response.status === 401) return toSignIn()
  if (!response.ok) throw await problemOf(response)
  return (response.status === 204 ? undefined : await response.json()) as T
}

function toSignIn(): Promise<never> {
  location.assign(`/signin?next=${encodeURIComponent(location.pathname + location.search)}`)
  return new Promise(() => {})
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const { code, title, detail } = (await response.json()) as Partial<ProblemDetails>
    return new Problem({
      status: response.status,
      code: String(code ?? response.status),
      title: title ?? response.statusText,
      detail: detail ?? '',
    })
  } catch {
    return new Problem({
      status: response.status,
      code: String(response.status),
      title: 'The console could not answer.',
      detail: `It answered with status ${response.status}.`,
    })
  }
}

export const cameraPath = ({ site, device, camera }: CameraAddress) =>
  [site, device, camera].map(encodeURIComponent).join('/')
/** Addresses for pictures: the cookie that signs in goes along. */
export const pictureAddress = (camera: CameraAddress) => `${BASE}/cameras/${cameraPath(camera)}/picture.jpg`
export const liveAddress = (camera: CameraAddress) => `${BASE}/cameras/${cameraPath(camera)}/live.mjpg`
export const originalAddress = (camera: CameraAddress) =>
  `${BASE}/cameras/${cameraPath(camera)}/original.mjpg`
export const exportAddress = (format: 'csv' | 'ndjson', filter: DetectionFilterQuery) =>
  `${BASE}/detections.${format}${queryText(filter)}`

export const overview = (tz: string, signal?: AbortSignal) =>
  request<Overview>('GET', '/overview', { query: { tz }, signal })

export const detections = (query: DetectionsQuery, signal?: AbortSignal) =>
  request<DetectionsPage>('GET', '/detections', { query, signal })
export const detection = (id: string, signal?: AbortSignal) =>
  request<DetectionDetail>('GET', `/detections/${encodeURIComponent(id)}`, { signal })
export const forget = (id: string) => request<Forgotten>('DELETE', `/detections/${encodeURIComponent(id)}`)
export const review = (reviews: Reviews) =>
  request<ReviewsDone>('POST', '/detections/reviews', { body: reviews })

/** What can be filtered by. */
export const attributes = (signal?: AbortSignal) => request<Attributes>('GET', '/attributes', { signal })

export const counts = (query: CountsQuery, signal?: AbortSignal) =>
  request<Counts>('GET', '/counts', { query, signal })

export const cameras = (signal?: AbortSignal) => request<Cameras>('GET', '/cameras', { signal })
export const camera = (address: CameraAddress, signal?: AbortSignal) =>
  request<Camera>('GET', `/cameras/${cameraPath(address)}`, { signal })
/** Answers when the camera has confirmed it. */
export const command = (address: CameraAddress, body: Command) =>
  request<Camera>('POST', `/cameras/${cameraPath(address)}/commands`, { body })

export const devices = (signal?: AbortSignal) => request<Devices>('GET', '/devices', { signal })
export const keepers = (signal?: AbortSignal) => request<Keepers>('GET', '/keepers', { signal })

export const healthEvents = (query: HealthEventsQuery, signal?: AbortSignal) =>
  request<HealthEventsPage>('GET', '/health-events', { query, signal })
/** A mark for all: somebody has seen to it. */
export const reviewHealth = (id: string, reviewed: boolean) =>
  request<HealthEvent>(reviewed ? 'PUT' : 'DELETE', `/health-events/${encodeURIComponent(id)}/review`)
