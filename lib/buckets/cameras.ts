import { CROP, type Kind } from '../../wire/kinds.ts'
import { isName } from '../../wire/names.ts'
import type { Bucket } from './bucket.ts'

/**
 * The cameras that have something of a kind in a bucket, as prefixes: `<root><site>/<device>/<camera>/`. Errors: those of
 * the bucket.
 */
export async function* cameras(
  bucket: Bucket,
  signal?: AbortSignal,
  { root }: Pick<Kind, 'root'> = CROP,
): AsyncGenerator<string> {
  for await (const site of names(bucket, root, signal))
    for await (const device of names(bucket, `${root}${site}/`, signal))
      for await (const camera of names(bucket, `${root}${site}/${device}/`, signal))
        yield `${root}${site}/${device}/${camera}/`
}

/** The next level below a prefix, without what cannot be a site, a device or a camera. */
export async function* names(bucket: Bucket, prefix: string, signal?: AbortSignal): AsyncGenerator<string> {
  for await (const name of bucket.folders(prefix, signal)) if (isName(name)) yield name
}
