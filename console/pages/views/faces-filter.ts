import type { Detection, DetectionFilterQuery } from '../../api/detections.ts'
import { cameraKey } from '../words.ts'

/** A search for faces as it stands in the address bar: the API's own parameters, so that the one explains the other. Pure. */

const PLACES = ['site', 'device', 'camera'] as const
const OTHERS = [
  'from',
  'to',
  'track',
  'masked',
  'attribute',
  'attributeScoreMin',
  'scoreMin',
  'scoreMax',
  'sizeMin',
  'reviewed',
  'file',
] as const satisfies readonly (keyof DetectionFilterQuery)[]

export type Filter = { readonly [Name in (typeof OTHERS)[number]]?: string } & {
  /** Any of these places. */
  readonly [Name in (typeof PLACES)[number]]?: readonly string[]
}

export function readFilter(query: URLSearchParams): Filter {
  const filter: Record<string, string | readonly string[]> = {}
  for (const name of OTHERS) {
    const value = query.get(name)
    if (value) filter[name] = value
  }
  for (const name of PLACES) {
    const values = query.getAll(name).filter(Boolean)
    if (values.length > 0) filter[name] = values
  }
  return filter
}

/** Whatever stands in the address: the API says what is wrong with it. */
export const asQuery = (filter: Filter) => filter as DetectionFilterQuery

export const isEmpty = (filter: Filter) => Object.keys(filter).length === 0

/** Whether what has just come belongs to the search. The server has the last word: it is asked when the page is opened anew. */
export function takes(filter: Filter, face: Detection): boolean {
  const {
    from,
    to,
    site,
    device,
    camera,
    track,
    masked,
    attribute,
    attributeScoreMin = '0',
    scoreMin,
    scoreMax,
    sizeMin,
    reviewed,
    file,
  } = filter
  const isAnywhere = !site && !device && !camera
  return (
    (isAnywhere ||
      site?.includes(face.site) ||
      device?.includes(`${face.site}/${face.device}`) ||
      camera?.includes(cameraKey(face)) ||
      false) &&
    (from === undefined || face.atMs >= timeOf(from)) &&
    (to === undefined || face.atMs < timeOf(to)) &&
    (track === undefined || face.track === track) &&
    (masked === undefined || String(face.masked ?? 'unknown') === masked) &&
    (attribute === undefined ||
      face.attributes.some(
        (has) => hasAttribute(has, attribute) && has.score >= Number(attributeScoreMin),
      )) &&
    (scoreMin === undefined || face.score >= Number(scoreMin)) &&
    (scoreMax === undefined || face.score <= Number(scoreMax)) &&
    (sizeMin === undefined || Math.min(face.box[2], face.box[3]) >= Number(sizeMin)) &&
    (reviewed === undefined || String(face.reviewed) === reviewed) &&
    (file === undefined || (face.file?.toLowerCase().includes(file.toLowerCase()) ?? false))
  )
}

/** As name, or as name:label. */
const hasAttribute = ({ name, label }: Detection['attributes'][number], wanted: string) =>
  wanted === name || wanted === `${name}:${label}`

/** Milliseconds, or ISO 8601. */
export const timeOf = (text: string) => (/^\d+$/.test(text) ? Number(text) : Date.parse(text))
