import { readFile } from 'node:fs/promises'
import type { ObjectToStore } from '../../lib/buckets/bucket.ts'
import { CACHE_REVALIDATE } from '../../lib/buckets/bucket.ts'

/** The page's files, as they stand in `page/`: no build, so what is edited there is what is served. */
const FILES = {
  'index.html': 'text/html; charset=utf-8',
  'gallery.css': 'text/css; charset=utf-8',
  'gallery.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const

/** The page as objects below `gallery/`. */
export function readPage(): Promise<ObjectToStore[]> {
  return Promise.all(
    Object.entries(FILES).map(async ([name, contentType]) => ({
      key: `gallery/${name}`,
      body: await readFile(new URL(`./page/${name}`, import.meta.url)),
      contentType,
      cacheControl: CACHE_REVALIDATE,
    })),
  )
}
