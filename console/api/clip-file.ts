import type { FastifyReply, FastifyRequest } from 'fastify'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import type { Clip } from '../database/clip.ts'
import { markLost } from '../database/clips.ts'
import { isKnown } from './entity-tags.ts'

/** A chunk's bytes, whole or a part. */

/** It never changes under its id; a browser asks again after an hour, so that what was forgotten is not shown for longer. */
const CACHE_S = 3600

/** Errors: NOT_FOUND where the bucket does not have it, which is then known; those of the bucket. */
export async function sendClip(
  { bucket, database, log }: Pick<Context, 'bucket' | 'database' | 'log'>,
  request: FastifyRequest,
  reply: FastifyReply,
  clip: Clip,
  cacheControl = `private, max-age=${CACHE_S}, immutable`,
): Promise<FastifyReply> {
  const tag = `"${clip.sha256}"`
  reply.headers({ etag: tag, 'cache-control': cacheControl, 'accept-ranges': 'bytes' })
  if (isKnown(request.headers['if-none-match'], tag)) return reply.code(304).send()
  const bytes = await bucket.read(clip.key, request.signal)
  if (!bytes) {
    if (!clip.isLost) {
      await markLost(database.write, [clip.id], Date.now())
      log.warn({ key: clip.key }, 'the bucket does not have a chunk that was announced')
    }
    throw notFound()
  }
  if (clip.isLost) await markLost(database.write, [clip.id], null)
  reply.type('video/mp4')
  const asks = request.headers['if-range']
  const range = asks === undefined || asks === tag ? request.headers.range : undefined
  const part = range === undefined ? undefined : partOf(range, bytes.byteLength)
  if (part === 'unsatisfiable')
    return reply.code(416).header('content-range', `bytes */${bytes.byteLength}`).send()
  if (!part) return reply.send(bytes)
  return reply
    .code(206)
    .header('content-range', `bytes ${part.from}-${part.to}/${bytes.byteLength}`)
    .send(bytes.subarray(part.from, part.to + 1))
}

/**
 * What `Range` asks for, one range (RFC 9110, 14.2). Pure.
 * @returns the first and the last byte; undefined where the whole is to be sent
 */
export function partOf(
  range: string,
  bytes: number,
): { readonly from: number; readonly to: number } | 'unsatisfiable' | undefined {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range.trim()) ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined
  if (first === '') {
    const suffix = Number(last)
    return suffix === 0 || bytes === 0
      ? 'unsatisfiable'
      : { from: Math.max(0, bytes - suffix), to: bytes - 1 }
  }
  const from = Number(first)
  if (last !== '' && Number(last) < from) return undefined
  if (from >= bytes) return 'unsatisfiable'
  return { from, to: last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1) }
}
