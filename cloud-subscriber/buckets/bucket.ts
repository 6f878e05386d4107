export interface ObjectToStore {
  /** `/`-separated, relative, made by wire/object-key.ts or by the gallery: never a name from the wire as it came. */
  readonly key: string
  /** The caller's, and left alone until the call has resolved; may be a view of a larger buffer. */
  readonly body: Uint8Array
  readonly contentType: string
  readonly cacheControl: string
}

/**
 * Where crops end up.
 * Errors: BUCKET_NOT_FOUND, BUCKET_DENIED, BUCKET_UNREACHABLE (worth another try), BUCKET_REFUSED; a folder also
 * FOLDER_UNWRITABLE and DISK_FULL; a key that is none NAME_INVALID.
 */
export interface Bucket extends AsyncDisposable {
  /** For people: `folder /srv/crops`, `s3 faces at https://...`. */
  readonly description: string
  /** Writes a new object, once: an object that is already there under this key stays as it is. */
  create(object: ObjectToStore, signal?: AbortSignal): Promise<'stored' | 'already-there'>
  /** Writes an object over what was there (index files, the gallery's page). Readers see the old or the new one. */
  replace(object: ObjectToStore, signal?: AbortSignal): Promise<void>
  /** The object's bytes, or undefined where there is none. */
  read(key: string, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /**
   * Resolves when everything that `create` and `replace` have resolved for (as stored or already there) before this
   * call survives a power cut. When it rejects, create again what was created since the last sync that resolved:
   * after a failed fsync the kernel may have dropped the pages and call them clean, so what failed is taken away
   * and only writing it anew helps.
   */
  sync(): Promise<void>
  /** The address under which anyone who may can open the object. */
  url(key: string): string
}

/** Crops never change under their key; the page and the index do. */
export const CACHE_IMMUTABLE = 'public, max-age=31536000, immutable'
export const CACHE_REVALIDATE = 'no-cache'
