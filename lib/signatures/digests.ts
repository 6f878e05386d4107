import { createHash } from 'node:crypto'

/**
 * SHA-256 of a file without its signature, and with it; of a clip, where the signature is at the end, in one pass.
 * @param content the file without its signature, in parts (wire/signature.ts)
 */
export function digestsOf(
  file: Uint8Array,
  content: readonly Uint8Array[],
): { readonly content: Buffer; readonly whole: Buffer } {
  const hash = createHash('sha256')
  for (const part of content) hash.update(part)
  const [only] = content
  if (content.length !== 1 || !only)
    return { content: hash.digest(), whole: createHash('sha256').update(file).digest() }
  const whole = hash.copy().update(file.subarray(only.length))
  return { content: hash.digest(), whole: whole.digest() }
}
