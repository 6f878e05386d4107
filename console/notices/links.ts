import { createHmac, timingSafeEqual } from 'node:crypto'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { ID_PATTERN } from '../../wire/id.ts'
import { type AnyKind, CLIP, CROP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { Database } from '../database/database.ts'
import { idBytes } from '../database/rows.ts'
import { EVERYTHING } from '../database/scope.ts'

/**
 * Addresses of pictures in notices: each opens one object, for a while, to whoever has it. They are the console's own where
 * people reach it (`publicUrl`), so that what is forgotten is gone from them too; otherwise the bucket's, where players may
 * fetch from it (`recordings.signedAddresses`) and it can sign; otherwise there is none.
 */

export interface LinksParts {
  readonly database: Pick<Database, 'detection' | 'read'>
  readonly bucket: Pick<Bucket, 'read' | 'signedUrl'>
  readonly publicUrl: string | undefined
  readonly signedByBucket: boolean
  readonly forMs: number
  readonly key: Uint8Array
  readonly now?: () => number
}

export interface Link {
  readonly url: string
  readonly expiresAtMs: number
}

/** S3 signs for no longer. */
const BUCKET_MS_MAX = 7 * 86_400_000
/** An attached picture; services take 8 MB and more, mail servers often no more than 10. */
const PICTURE_BYTES_MAX = 5_000_000

export class Links {
  readonly #parts: LinksParts

  constructor(parts: LinksParts) {
    this.#parts = parts
  }

  /** @param key of the object, where it is known. @returns undefined where there can be none, or nothing is there */
  async of(id: string, key?: string): Promise<Link | undefined> {
    const { publicUrl, bucket, signedByBucket, forMs, now = Date.now } = this.#parts
    if (publicUrl !== undefined) {
      // To the minute: it says nothing of when it was sent.
      const untilS = Math.ceil((now() + forMs) / 60_000) * 60
      const url = `${publicUrl.replace(/\/+$/, '')}/n/${id}/${untilS}/${this.#sign(id, untilS)}`
      return { url, expiresAtMs: untilS * 1000 }
    }
    if (!signedByBucket || !bucket.signedUrl) return undefined
    const object = key ?? (await this.#find(id))?.key
    if (object === undefined) return undefined
    const ms = Math.min(forMs, BUCKET_MS_MAX)
    return { url: await bucket.signedUrl(object, Math.floor(ms / 1000)), expiresAtMs: now() + ms }
  }

  /** A crop's JPEG; undefined where it is not there (any more) or too large. Errors: those of the bucket and the database */
  async picture(id: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const found = await this.#parts.database.detection(id, EVERYTHING)
    if (!found || found.bytes > PICTURE_BYTES_MAX) return undefined
    const bytes = await this.#parts.bucket.read(found.key, signal)
    return bytes && bytes.byteLength <= PICTURE_BYTES_MAX ? bytes : undefined
  }

  /** What an address opens. */
  async open(
    { id, until, signature }: { id: string; until: string; signature: string },
    signal: AbortSignal,
  ): Promise<{ readonly kind: AnyKind; readonly bytes: Uint8Array } | undefined> {
    const { bucket, now = Date.now } = this.#parts
    if (!ID_PATTERN.test(id) || !/^\d{1,12}$/.test(until) || Number(until) * 1000 <= now()) return undefined
    const given = Buffer.from(signature, 'base64url')
    const due = Buffer.from(this.#sign(id, Number(until)), 'base64url')
    if (given.byteLength !== due.byteLength || !timingSafeEqual(given, due)) return undefined
    const found = await this.#find(id)
    const bytes = found && (await bucket.read(found.key, signal))
    return found && bytes && { kind: found.kind, bytes }
  }

  async #find(id: string): Promise<{ readonly kind: AnyKind; readonly key: string } | undefined> {
    const { database } = this.#parts
    const crop = await database.detection(id, EVERYTHING)
    if (crop) return { kind: CROP, key: crop.key }
    const clip = await database.read
      .selectFrom('clips')
      .innerJoin('cameras', 'cameras.id', 'clips.camera_id')
      .select(['clips.at_ms', 'clips.key', 'site', 'device', 'camera'])
      .where('clips.id', '=', idBytes(id))
      .executeTakeFirst()
    return clip && { kind: CLIP, key: clip.key ?? objectKey({ id, ...clip }, clip.at_ms, CLIP) }
  }

  #sign(id: string, untilS: number): string {
    return createHmac('sha256', this.#parts.key).update(`${id}.${untilS}`).digest('base64url')
  }
}

/** `/n/ID/UNTIL/SIGNATURE` */
export async function linkPages(
  app: FastifyInstance,
  links: Links,
  { requestsPerMinuteMax }: { readonly requestsPerMinuteMax: number },
): Promise<void> {
  await app.register(async (pages) => {
    await pages.register(rateLimit, { max: requestsPerMinuteMax, timeWindow: 60_000 })
    pages.get<{ Params: { id: string; until: string; signature: string } }>(
      '/n/:id/:until/:signature',
      { config: { isOpen: true } },
      async (request, reply) => {
        reply.headers({
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
          'x-robots-tag': 'noindex',
        })
        const found = await links.open(request.params, request.signal)
        if (!found) return reply.code(404).type('text/plain').send('It is not there, or not any more.\n')
        return reply.type(found.kind.mediaType).send(found.bytes)
      },
    )
  })
}
