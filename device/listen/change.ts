import { randomBytes } from 'node:crypto'
import { type Document, isMap, isSeq, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml'
import { editFile } from '../../lib/edit-file.ts'
import { failure } from '../../lib/errors.ts'
import type { StreamChange } from '../../wire/stream.ts'
import { CAMERAS_MAX } from '../limits.ts'
import { readStreams } from './streams-file.ts'

/** Changes to a streams file, whole or not at all; what else stands in it stays. */

const KEY_BYTES = 16
const NEW_TEXT = `# Streams that may come to this device, kept with "sightline streams". Beside what that writes, a stream may have what a
# camera of the configuration has: rotate, mirror, aspect, region, masks, motion, view, record, rateMax.
streams: []
`

/** 128 random bits, base64url. */
export function newStreamKey(): string {
  return randomBytes(KEY_BYTES).toString('base64url')
}

export interface ChangeOptions {
  readonly file: string
  /** Names of the cameras that the device has besides. */
  readonly taken?: ReadonlySet<string>
}

/** Errors: STREAM_UNKNOWN, STREAM_EXISTS, TOO_MANY, FOLDER_UNWRITABLE, DISK_FULL, and those of readStreams. */
export async function changeStream(
  { file, taken }: ChangeOptions,
  camera: string,
  change: StreamChange,
): Promise<void> {
  await editFile(file, {
    change: (before) => {
      // Only where one is added may the file not be there yet.
      if (before !== undefined || change.do !== 'add') readStreams(file, taken)
      const document = parseDocument(before ?? NEW_TEXT)
      const streams = document.get('streams')
      if (!isSeq(streams))
        throw failure('CONFIG_INVALID', `${file}: "streams" must be a list, not a YAML alias.`)
      if (change.do === 'add') add({ file, taken }, document, streams, camera, change)
      else alter(file, streams, camera, change)
      return document.toString({ lineWidth: 0, flowCollectionPadding: false })
    },
    // No device is to find there what it cannot read.
    check: (written) => void readStreams(written, taken),
  })
}

function add(
  { file, taken }: ChangeOptions,
  document: Document,
  streams: YAMLSeq,
  name: string,
  { keyHash, owner, takeOver }: Extract<StreamChange, { do: 'add' }>,
): void {
  if (at(streams, name) >= 0)
    throw failure(
      'STREAM_EXISTS',
      `Stream "${name}" already exists in ${file}. Choose another name, or rotate its key.`,
    )
  if (taken?.has(name))
    throw failure('STREAM_EXISTS', `The device already has a camera "${name}". Choose another name.`)
  if (streams.items.length >= CAMERAS_MAX)
    throw failure('TOO_MANY', `${file} has ${CAMERAS_MAX} streams, which is the limit. Remove one first.`)
  if (streams.items.length === 0) streams.flow = false // as it was written: []
  const created = `${new Date().toISOString().slice(0, 19)}Z`
  const stream = { name, keyHash, owner, active: true, takeOver: takeOver ?? false, created }
  streams.add(document.createNode(stream, { keepUndefined: false }))
}

function alter(
  file: string,
  streams: YAMLSeq,
  name: string,
  change: Exclude<StreamChange, { do: 'add' }>,
): void {
  const place = at(streams, name)
  const stream = streams.items[place] as YAMLMap | undefined
  if (!stream)
    throw failure(
      'STREAM_UNKNOWN',
      `Stream "${name}" not found in ${file}. See: sightline streams list ${file}`,
    )
  switch (change.do) {
    case 'rotate':
      stream.set('keyHash', change.keyHash)
      break
    case 'activate':
      stream.set('active', true)
      break
    case 'deactivate':
      stream.set('active', false)
      break
    case 'settings':
      stream.set('takeOver', change.takeOver)
      break
    case 'remove':
      streams.delete(place)
  }
}

function at(streams: YAMLSeq, name: string): number {
  return streams.items.findIndex((stream) => isMap(stream) && stream.get('name') === name)
}
