import { createHash } from 'node:crypto'

/**
 * The id of a notice: of when it began, and of what it is about. Whoever comes to the same notice again, after a restart or
 * from another message of the same face, comes to the same id. A UUIDv7 in its form. Pure.
 * @param edgeMs when it became so, milliseconds since 1970
 */
export function noticeId(key: string, edgeMs: number): string {
  const digest = createHash('sha256').update(key).digest()
  const time = Math.max(0, Math.floor(edgeMs)).toString(16).padStart(12, '0').slice(-12)
  digest[0] = ((digest[0] as number) & 0x0f) | 0x70
  digest[2] = ((digest[2] as number) & 0x3f) | 0x80
  const tail = digest.toString('hex', 0, 10)
  return `${time.slice(0, 8)}-${time.slice(8)}-${tail.slice(0, 4)}-${tail.slice(4, 8)}-${tail.slice(8)}`
}
