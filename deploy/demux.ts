/**
 * Docker's frames for output that is no terminal's (API, "attach to a container"): stream (2 is standard error), three
 * bytes of nothing, length, then so many bytes.
 * @returns what takes the next bytes, and hands on what has become whole
 */
export function demux(): (bytes: Buffer, on: (chunk: Buffer, isError: boolean) => void) => void {
  let rest = Buffer.alloc(0)
  return (bytes, on) => {
    rest = rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([rest, bytes])
    while (rest.length >= 8) {
      const end = 8 + rest.readUInt32BE(4)
      if (rest.length < end) return
      on(rest.subarray(8, end), rest[0] === 2)
      rest = rest.subarray(end)
    }
  }
}
