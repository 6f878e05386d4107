import type { Attribute } from './attributes.ts'
import { type ClipMetadata, readClip } from './clip.ts'
import { type CropMetadata, readCrop } from './crop.ts'
import { isName } from './names.ts'
import type { CameraAddress } from './topics.ts'

/**
 * What is kept, from a camera to the bucket: a row for each kind. A new kind is one row and one reader of its metadata;
 * brokers, subscriber, buckets, gallery and commands ask this table. Pure.
 */

/** What everything that is kept says of itself. */
export interface KeptMetadata extends CameraAddress {
  /** UUIDv7, minted at capture. */
  readonly id: string
  /** Milliseconds since 1970, by the device's clock. */
  readonly capturedAtMs: number
  readonly clockSane: boolean
}

export type Reading<Metadata> =
  | { readonly metadata: Metadata }
  | { readonly fault: string; readonly detail: string }

export interface Kind<Metadata extends KeptMetadata = KeptMetadata> {
  /** For people; and the last level of its topic, `<prefix>/<site>/<device>/<camera>/<name>`. */
  readonly name: string
  readonly mediaType: string
  /** Of its object's key, without the dot. */
  readonly extension: string
  /** What its objects' keys begin with, ending with a slash. No site is called so: names have no dots. */
  readonly root: string
  /** Never public, and in no gallery. */
  readonly private: boolean
  /** It takes a lane of its own everywhere, so that nothing waits behind it. */
  readonly bulky: boolean
  /** A larger one is none. */
  readonly payloadBytesMax: number
  /** Never throws, whatever the bytes. */
  readonly read: (payload: Uint8Array) => Reading<Metadata>
  /** What the gallery's index says of it, beside place and time. */
  readonly indexed: (
    metadata: Metadata,
  ) => Readonly<Record<string, number | string | readonly IndexedAttribute[]>>
}

/** Of one crop, the surest: a page reads some hundred entries at once. */
const INDEXED_ATTRIBUTES_MAX = 8

/** Name, label and score of an attribute, as the gallery's index has it. */
export type IndexedAttribute = readonly [name: string, label: string, score: number]

const indexedAttributes = (attributes: readonly Attribute[]): IndexedAttribute[] =>
  attributes
    .toSorted((a, b) => b.score - a.score)
    .slice(0, INDEXED_ATTRIBUTES_MAX)
    .map(({ name, label, score }) => [name, label, Math.round(score * 1000) / 1000])

export const CROP = {
  name: 'crop',
  mediaType: 'image/jpeg',
  extension: 'jpg',
  root: '',
  private: false,
  bulky: false,
  payloadBytesMax: 16_000_000,
  read: (payload: Uint8Array): Reading<CropMetadata> => {
    const reading = readCrop(payload)
    return 'crop' in reading ? { metadata: reading.crop } : reading
  },
  indexed: ({ score, box, file, track, shot, attributes = [] }: CropMetadata) => ({
    score,
    width: Math.round(box[2]),
    height: Math.round(box[3]),
    ...(file !== undefined && { file }),
    ...(track !== undefined && shot !== undefined && { track, shot }),
    ...(attributes.length > 0 && { attributes: indexedAttributes(attributes) }),
  }),
} as const satisfies Kind<CropMetadata>

export const CLIP = {
  name: 'clip',
  mediaType: 'video/mp4',
  extension: 'mp4',
  root: 'recordings.private/',
  private: true,
  bulky: true,
  // Of a packet of 16 MiB, with its topic.
  payloadBytesMax: 15_500_000,
  read: (payload: Uint8Array): Reading<ClipMetadata> => {
    const reading = readClip(payload)
    return 'clip' in reading ? { metadata: reading.clip } : reading
  },
  indexed: () => ({}),
} as const satisfies Kind<ClipMetadata>

export const KINDS = [CROP, CLIP] as const
export type AnyKind = (typeof KINDS)[number]
/** A kind by its name. */
export type KindName = AnyKind['name']

export const keptTopic = (prefix: string, { name }: Pick<Kind, 'name'>, address: CameraAddress) =>
  `${prefix}/${address.site}/${address.device}/${address.camera}/${name}`

/** The filters that match everything that is kept, under a prefix; or of one lane. */
export const keptFilters = (prefix: string, kinds: readonly Pick<Kind, 'name'>[] = KINDS): string[] =>
  kinds.map((kind) => keptTopic(prefix, kind, { site: '+', device: '+', camera: '+' }))

/** What a topic says of its message; undefined where the topic is none of ours. */
export function parseKeptTopic(
  prefix: string,
  topic: string,
): { readonly kind: AnyKind; readonly address: CameraAddress } | undefined {
  if (!topic.startsWith(`${prefix}/`)) return undefined
  const [site, device, camera, name, ...rest] = topic.slice(prefix.length + 1).split('/')
  const kind = KINDS.find((it) => it.name === name)
  if (!kind || rest.length > 0 || !isName(site) || !isName(device) || !isName(camera)) return undefined
  return { kind, address: { site, device, camera } }
}

/** By its root and extension; undefined for what is not kept (the gallery's files). */
export const kindOfKey = (key: string): AnyKind | undefined => {
  const root = ROOTS.find((it) => key.startsWith(it)) ?? ''
  return KINDS.find((kind) => kind.root === root && key.endsWith(`.${kind.extension}`))
}

const ROOTS = KINDS.map(({ root }) => root).filter((root) => root !== '')
