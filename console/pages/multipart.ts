/** Pictures of a multipart stream (`multipart/x-mixed-replace`), as they come. Pure, but for reading. */

export interface Part {
  readonly headers: ReadonlyMap<string, string>
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** More than any header of a part. */
const HEAD_BYTES_MAX = 8192
/** More than any picture: the stream is none of ours. */
const PART_BYTES_MAX = 16 * 1024 * 1024

/** Where several have come at once, the newest of them alone: a slow reader sees fewer, and none late. */
export async function* newestParts(body: ReadableStream<Uint8Array>): AsyncGenerator<Part> {
  const reader = body.getReader()
  let held = new Uint8Array(0)
  try {
    for (;;) {
      const chunks: Uint8Array[] = [held]
      // Joined once there is enough for a whole picture, not at each piece of it.
      for (let missing = bytesMissing(held); missing > 0; ) {
        const { value, done } = await reader.read()
        if (done) return
        chunks.push(value)
        missing -= value.length
      }
      held = joined(chunks)
      let newest: Part | undefined
      for (let head = headOf(held); head && held.length >= head.end + head.length; head = headOf(held)) {
        newest = { headers: head.headers, bytes: held.slice(head.end, head.end + head.length) }
        held = held.subarray(head.end + head.length)
      }
      if (newest) yield newest
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

/** How many bytes it takes at least until a picture is whole. */
function bytesMissing(held: Uint8Array): number {
  const head = headOf(held)
  return head ? Math.max(0, head.end + head.length - held.length) : 1
}

/** A part's header; the boundary in front of it counts as a line of it. */
function headOf(held: Uint8Array) {
  const end = endOfHead(held)
  if (end === undefined) {
    if (held.length > HEAD_BYTES_MAX) throw new Error('a part without an end of its header')
    return undefined
  }
  const headers = new Map<string, string>()
  for (const line of new TextDecoder().decode(held.subarray(0, end)).split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  const length = Number(headers.get('content-length'))
  if (!Number.isSafeInteger(length) || length < 0 || length > PART_BYTES_MAX)
    throw new Error('a picture without a length')
  return { end, length, headers }
}

function endOfHead(held: Uint8Array): number | undefined {
  for (let at = held.indexOf(13); at >= 0 && at < HEAD_BYTES_MAX; at = held.indexOf(13, at + 1))
    if (held[at + 1] === 10 && held[at + 2] === 13 && held[at + 3] === 10) return at + 4
  return undefined
}

function joined(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
