import type { Detection, DetectionFilterQuery } from '../../api/detections.ts'

/** A search for faces as it stands in the address bar: the API's own parameters, so that the one explains the other. Pure. */

export const FILTER_NAMES = [
  'from',
  'to',
  'site',
  'device',
  'camera',
  'track',
  'masked',
  'attribute',
  'scoreMin',
  'sizeMin',
  'reviewed',
] as const satisfies readonly (keyof DetectionFilterQuery)[]

export type Filter = { readonly [Name in (typeof FILTER_NAMES)[number]]?: string }

export function readFilter(query: URLSearchParams): Filter {
  const filter: Record<string, string> = {}
  for (const name of FILTER_NAMES) {
    const value = query.get(name)
    if (value) filter[name] = value
  }
  return filter
}

/** Whatever stands in the address: the API says what is wrong with it. */
export const asQuery = (filter: Filter) => filter as DetectionFilterQuery

export const isEmpty = (filter: Filter) => Object.keys(filter).length === 0

/** Whether what has just come belongs to the search. The server has the last word: it is asked when the page is opened anew. */
export function takes(filter: Filter, face: Detection): boolean {
  const { from, to, site, device, camera, track, masked, attribute, scoreMin, sizeMin, reviewed } = filter
  return (
    (from === undefined || face.capturedAtMs >= timeOf(from)) &&
    (to === undefined || face.capturedAtMs < timeOf(to)) &&
    (site === undefined || face.site === site) &&
    (device === undefined || face.device === device) &&
    (camera === undefined || face.camera === camera) &&
    (track === undefined || face.track === track) &&
    (masked === undefined || String(face.masked ?? 'unknown') === masked) &&
    (attribute === undefined || face.attributes.some(({ name, label }) => `${name}:${label}` === attribute)) &&
    (scoreMin === undefined || face.score >= Number(scoreMin)) &&
    (sizeMin === undefined || Math.min(face.box[2], face.box[3]) >= Number(sizeMin)) &&
    (reviewed === undefined || String(face.reviewed) === reviewed)
  )
}

/** Milliseconds, or ISO 8601. */
export const timeOf = (text: string) => (/^\d+$/.test(text) ? Number(text) : Date.parse(text))
