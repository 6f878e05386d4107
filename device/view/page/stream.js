/** The agent's stream: pictures, each with the faces that are in it. */

const FACES_HEADER = /^x-sightline-faces: (.*)$/m
const LENGTH_HEADER = /^content-length: (\d+)$/m

/**
 * The pictures of a multipart stream, as they come: `{ jpeg, faces }`. Where several have come at once, the newest of them.
 * @param {ReadableStream<Uint8Array>} body
 */
export async function* pictures(body) {
  const reader = body.getReader()
  let held = new Uint8Array(0)
  try {
    for (;;) {
      const chunks = []
      // Joined once there is enough for a whole picture, not at each piece of it.
      for (let missing = bytesMissing(held); missing > 0; ) {
        const { value, done } = await reader.read()
        if (done) return
        chunks.push(value)
        missing -= value.length
      }
      held = joined([held, ...chunks])
      let newest
      for (let part = partOf(held); part; part = partOf(held)) {
        newest = part
        held = held.subarray(part.end)
      }
      if (newest) yield newest
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

/** How many bytes it takes at least until a picture is whole. */
function bytesMissing(held) {
  const head = headOf(held)
  return head ? Math.max(0, head.end + head.length - held.length) : 1
}

function partOf(held) {
  const head = headOf(held)
  if (!head || held.length < head.end + head.length) return undefined
  const end = head.end + head.length
  return { faces: head.faces, jpeg: held.slice(head.end, end), end }
}

/** A part's header: the boundary in front of it counts as a line of it. */
function headOf(held) {
  const end = endOfHead(held)
  if (end === undefined) return undefined
  const text = new TextDecoder().decode(held.subarray(0, end)).replaceAll('\r', '')
  const length = Number(LENGTH_HEADER.exec(text)?.[1])
  if (!Number.isSafeInteger(length)) throw new Error('a picture without a length')
  return { end, length, faces: JSON.parse(FACES_HEADER.exec(text)?.[1] ?? '[]') }
}

function endOfHead(held) {
  for (let at = held.indexOf(13); at >= 0; at = held.indexOf(13, at + 1))
    if (held[at + 1] === 10 && held[at + 2] === 13 && held[at + 3] === 10) return at + 4
  return undefined
}

function joined(chunks) {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
