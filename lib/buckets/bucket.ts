import { KINDS, kindOfKey } from '../../wire/kinds.ts'

/** What a program does with its bucket. */
export type Access = 'read' | 'write'

export interface ObjectToStore {
  /** `/`-separated, relative, made by wire/object-key.ts or by the gallery: never a name from the wire as it came. */
  readonly key: string
  /** The caller's, and left alone until the call has resolved; may be a view of a larger buffer. */
  readonly body: Uint8Array
  readonly contentType: string
  readonly cacheControl: string
}

export interface ListedObject {
  readonly key: string
  readonly modifiedAtMs: number
  readonly bytes: number
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
   * The objects whose key begins with a prefix: nothing (all), or a key, whole or cut off anywhere (`site/`). In the
   * order of the keys where the store gives it. What has a key that we would not write is not shown, nor is what
   * lies behind a symbolic link in a folder.
   */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<ListedObject>
  /** The names of the next level below a prefix that is empty or ends with a slash: `''` gives the sites (and `gallery`). */
  folders(prefix: string, signal?: AbortSignal): AsyncIterable<string>
  /**
   * Deletes objects; one that is not there is no error. After a failure some of them may be gone: remove them all
   * again. (In a bucket with versions the store keeps the old one until a rule of its own deletes that.)
   */
  remove(keys: readonly string[], signal?: AbortSignal): Promise<void>
  /**
   * Has the store itself delete what lies below each of these sites, so many days after it was written; undefined
   * takes back what was set so. Rules of others stay. Absent where no store of the kind can.
   * @returns false where this store cannot, or does not let us
   */
  expire?(sites: ReadonlySet<string>, days: number | undefined, signal?: AbortSignal): Promise<boolean>
  /**
   * Resolves when everything that `create`, `replace` and `remove` have resolved for before this call survives a power cut. When it rejects, create again what was created since the last sync that resolved:
   * after a failed fsync the kernel may have dropped the pages and call them clean, so what failed is taken away
   * and only writing it anew helps.
   */
  sync(): Promise<void>
  /** The address under which anyone who may can open the object. */
  url(key: string): string
  /**
   * An address that opens the object for so many seconds, where the store itself checks it; absent for a folder
   * (cloud-subscriber/links.ts). Whether the object is there is not asked.
   */
  signedUrl?(key: string, forS: number): Promise<string>
}

/**
 * Crops never change under their key, but they are deleted: a day later no cache has them any more. What not everyone
 * may see is for the visitor's own browser alone ("public" would let a proxy show it to the next one: RFC 9111, 3.5).
 */
export const CACHE_CROP_S = 86_400
export const cacheCrop = (publicRead: boolean) =>
  `${publicRead ? 'public' : 'private'}, max-age=${CACHE_CROP_S}, immutable`
/** Of what is kept under this key: whatever the bucket is, a recording is for one visitor. */
export const cacheKept = (key: string, publicRead: boolean) => cacheCrop(publicRead && !isPrivate(key))
/** Never public, and in no gallery: also what nobody takes for a recording, but lies among them. */
export const isPrivate = (key: string) =>
  KINDS.some((kind) => kind.private && key.startsWith(kind.root)) || kindOfKey(key)?.private === true
/** The page and the index. */
export const CACHE_REVALIDATE = 'no-cache'
