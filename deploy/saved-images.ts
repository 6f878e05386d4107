import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { failure } from '../lib/errors.ts'
import { MANIFEST_BYTES_MAX } from './limits.ts'
import { untar } from './untar.ts'

/** What is in a tarball of `docker save`, looked at before it is sent. */

export interface SavedImage {
  readonly id: string
  readonly tags: readonly string[]
  readonly architecture: string
}

/** Errors: IMAGE_UNUSABLE, IMAGE_NOT_FOUND */
export async function readSavedImages(file: string): Promise<SavedImage[]> {
  let texts: Map<string, Buffer>
  try {
    const zipped = isGzip(file)
    const stream = createReadStream(file)
    const isJson = /^(manifest\.json|(blobs\/sha256\/)?[0-9a-f]{64}(\.json)?)$/
    // manifest.json is at the end, and the configurations that it names are anywhere, under a name that is a hash.
    texts = await untar(
      zipped ? stream.pipe(createGunzip()) : stream,
      ({ name, size = 0 }) => size <= MANIFEST_BYTES_MAX && isJson.test(name),
    )
  } catch (error) {
    throw failure(
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'IMAGE_NOT_FOUND' : 'IMAGE_UNUSABLE',
      `${file} (--images) cannot be read as a "docker save" file. Create it with: docker save -o ${file} sightline-broker sightline-device`,
      error,
    )
  }
  const manifest = texts.get('manifest.json')
  if (!manifest)
    throw failure(
      'IMAGE_UNUSABLE',
      `${file} (--images) is not a "docker save" file: it has no manifest.json.`,
    )
  const entries = JSON.parse(manifest.toString()) as { Config: string; RepoTags: string[] | null }[]
  return entries.map(({ Config, RepoTags }) => {
    const { architecture } = JSON.parse(texts.get(Config)?.toString() ?? '{}') as { architecture?: string }
    const id = /[0-9a-f]{64}/.exec(Config)?.[0] ?? ''
    return { id: `sha256:${id}`, tags: RepoTags ?? [], architecture: architecture ?? 'unknown' }
  })
}

function isGzip(file: string): boolean {
  const descriptor = openSync(file, 'r')
  try {
    const magic = Buffer.alloc(2)
    readSync(descriptor, magic, 0, 2, 0)
    return magic[0] === 0x1f && magic[1] === 0x8b
  } finally {
    closeSync(descriptor)
  }
}
