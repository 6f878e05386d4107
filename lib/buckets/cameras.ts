import { isName } from '../../wire/names.ts'
import type { Bucket } from './bucket.ts'

/** The cameras that have crops in a bucket, as prefixes: `<site>/<device>/<camera>/`. Errors: those of the bucket. */
export async function* cameras(bucket: Bucket, signal?: AbortSignal): AsyncGenerator<string> {
  for await (const site of names(bucket, '', signal))
    for await (const device of names(bucket, `${site}/`, signal))
      for await (const camera of names(bucket, `${site}/${device}/`, signal))
        yield `${site}/${device}/${camera}/`
}

/** The next level below a prefix, without what cannot be a site, a device or a camera. */
export async function* names(bucket: Bucket, prefix: string, signal?: AbortSignal): AsyncGenerator<string> {
  for await (const name of bucket.folders(prefix, signal)) if (isName(name)) yield name
}
