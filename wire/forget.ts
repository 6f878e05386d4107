import { z } from 'zod'
import { ID_PATTERN } from './id.ts'
import { CLIP, CROP, type KeptMetadata, KINDS } from './kinds.ts'
import { NAME_PATTERN } from './names.ts'
import { dayOf } from './object-key.ts'

/** Which crops are to be forgotten, as the command line tells a program, and what belongs to them. Pure. */

export const FORGET_COMMAND = 'forget'

const name = z.string().regex(NAME_PATTERN)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)

export const selectionSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('device'), site: name, device: name }),
  z.strictObject({ kind: z.literal('camera'), site: name, device: name, camera: name }),
  /** A day in UTC. */
  z.strictObject({ kind: z.literal('day'), day: z.iso.date() }),
  z.strictObject({ kind: z.literal('id'), id: z.string().toLowerCase().regex(ID_PATTERN) }),
  /** Chunks of a camera's recordings that have any part in it; what it saw of faces stays. */
  z
    .strictObject({
      kind: z.literal('stretch'),
      site: name,
      device: name,
      camera: name,
      fromMs: timeMs,
      toMs: timeMs,
    })
    .refine(({ fromMs, toMs }) => fromMs < toMs, { path: ['toMs'], error: 'must be after fromMs' }),
])
export type Selection = z.infer<typeof selectionSchema>

export const forgetRequestSchema = z.strictObject({ selection: selectionSchema, dryRun: z.boolean() })
export type ForgetRequest = z.infer<typeof forgetRequestSchema>

/** A request from afar (stored.ts, `forgetTopic`): the same id twice is one request. */
export const FORGET_MESSAGE_VERSION = 1
export const FORGET_MESSAGE_BYTES_MAX = 4096
export const forgetMessageSchema = z.object({
  v: z.literal(FORGET_MESSAGE_VERSION),
  /** UUIDv7, minted by whoever asks; the answer names it. */
  request: z.string().regex(ID_PATTERN),
  selection: selectionSchema,
  /** Who asked, for the log. */
  by: z.string().max(200).optional(),
})
export type ForgetMessage = z.infer<typeof forgetMessageSchema>

/** What a handler of the command yields. */
export interface Forgotten {
  /** For people, but with names as they came: not for a terminal. */
  readonly place: string
  readonly count: number
  /** It is still there: another program has to let go of it. */
  readonly left?: boolean
}

interface CropFacts {
  readonly id: string
  readonly site: string
  readonly device: string
  readonly camera: string
  /** UTC days that it goes by: of its capture, of its key. */
  readonly days: readonly string[]
  /** Of a chunk of a recording: when it begins and ends. */
  readonly span?: Span | undefined
}

interface Span {
  readonly fromMs: number
  readonly toMs: number
}

export function selects(selection: Selection, crop: CropFacts): boolean {
  switch (selection.kind) {
    case 'device':
      return crop.site === selection.site && crop.device === selection.device
    case 'camera':
      return isOfCamera(selection, crop)
    case 'day':
      return crop.days.includes(selection.day)
    case 'id':
      return crop.id === selection.id
    case 'stretch':
      return crop.span !== undefined && isOfCamera(selection, crop) && overlap(selection, crop.span)
  }
}

const isOfCamera = (
  selection: Extract<Selection, { kind: 'camera' | 'stretch' }>,
  { site, device, camera }: Pick<CropFacts, 'site' | 'device' | 'camera'>,
) => site === selection.site && device === selection.device && camera === selection.camera

const overlap = (a: Span, b: Span) => a.fromMs < b.toMs && a.toMs > b.fromMs

/** What a chunk's metadata says; undefined for what is none. */
export const spanOf = (metadata: KeptMetadata & { readonly endMs?: unknown }): Span | undefined =>
  typeof metadata.endMs === 'number' ? { fromMs: metadata.capturedAtMs, toMs: metadata.endMs } : undefined

/** Metadata stands at the beginning of a crop, within one segment of JPEG. */
const METADATA_BYTES_MAX = 65_536 + 4

/**
 * Whether a message belongs to what is selected: by its metadata, or by its topic, under any prefix (a bridge may have
 * changed it). A device's status is its too, and what it was to be and answered. Where the metadata cannot be read, the time of receipt stands in for the
 * day, and for that of a chunk, and an id is looked for in the text.
 */
export function selectsMessage(
  selection: Selection,
  topic: string,
  payload: Uint8Array,
  receivedAtMs?: number,
): boolean {
  const [site, device, camera, kind] = topic.split('/').slice(-4)
  const isOf = (site?: string, device?: string) =>
    'device' in selection && selection.site === site && selection.device === device
  if (
    selection.kind !== 'stretch' &&
    CAMERA_KINDS.has(kind) &&
    isOf(site, device) &&
    (selection.kind === 'device' || camera === cameraOf(selection))
  )
    return true
  const [ownSite, ownDevice, own] = topic.split('/').slice(-3)
  if (DEVICE_TOPICS.has(own) && selection.kind === 'device' && isOf(ownSite, ownDevice)) return true
  const { read } = KINDS.find(({ name }) => name === kind) ?? CROP
  const reading = read(payload)
  if ('metadata' in reading)
    return selects(selection, {
      ...reading.metadata,
      days: [dayOf(reading.metadata.capturedAtMs)],
      span: spanOf(reading.metadata),
    })
  if (selection.kind === 'stretch')
    return (
      kind === CLIP.name &&
      isOf(site, device) &&
      camera === selection.camera &&
      receivedAtMs !== undefined &&
      overlap(selection, { fromMs: receivedAtMs, toMs: receivedAtMs + 1 })
    )
  if (selection.kind === 'day') return receivedAtMs !== undefined && dayOf(receivedAtMs) === selection.day
  return (
    selection.kind === 'id' &&
    Buffer.from(
      payload.buffer,
      payload.byteOffset,
      Math.min(payload.byteLength, METADATA_BYTES_MAX),
    ).includes(selection.id)
  )
}

/** Topics of a camera whose messages tell of what it saw. */
const CAMERA_KINDS: ReadonlySet<string | undefined> = new Set([
  ...KINDS.map(({ name }) => name),
  'event',
  'state',
  'snapshot',
])

/** Of a device itself: what it answers may show what a camera saw when it was tried. */
const DEVICE_TOPICS: ReadonlySet<string | undefined> = new Set(['status', 'desired', 'reported'])

const cameraOf = (selection: Selection) => (selection.kind === 'camera' ? selection.camera : undefined)
