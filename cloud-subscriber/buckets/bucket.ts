export interface ObjectToStore {
  /** `/`-separated, relative, made by wire/object-key.ts or by the gallery: never a name from the wire as it came. */
  readonly key: string
  readonly body: Uint8Array
  readonly contentType: string
  readonly cacheControl: string
}

/** Where crops end up. Errors: BUCKET_NOT_FOUND, BUCKET_DENIED, BUCKET_UNREACHABLE, BUCKET_REFUSED. */
export interface Bucket extends AsyncDisposable {
  /** For people: `folder /srv/crops`, `s3 faces at https://...`. */
  readonly description: string
  /** Writes a new object, once: an object that is already there under this key stays as it is. */
  create(object: ObjectToStore, signal?: AbortSignal): Promise<'stored' | 'already-there'>
  /** Writes an object over what was there (index files, the gallery's page). */
  replace(object: ObjectToStore, signal?: AbortSignal): Promise<void>
  /** The object's bytes, or undefined where there is none. */
  read(key: string, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /** Resolves when everything that `create` and `replace` have resolved for survives a power cut. */
  sync(): Promise<void>
  /** The address under which anyone who may can open the object. */
  url(key: string): string
}
