import { HEADER_BYTES_MAX, InferenceFault, TENSORS_MAX } from '../wire/inference.ts'
import { CONTENTS_BYTES_MAX } from './limits.ts'

/**
 * Bounds a ModelInferRequest (wire/inference.proto) before it is read: two bytes of it may be a tensor, and 64 MB of those are
 * more objects than memory has room for. Protobuf (https://protobuf.dev/programming-guides/encoding): a key (field number and
 * wire type), then a varint, 8 or 4 bytes, or a length and that many bytes. Pure.
 */

const INPUTS = 5
const OUTPUTS = 6
const RAW_CONTENTS = 7
/** Of an input. */
const CONTENTS = 5
/** Of the contents: texts, each an object. */
const BYTES_CONTENTS = 8
/** Lists of values in one input; one is enough, and writers that do not pack have one a value. */
const CONTENTS_FIELDS_MAX = 1000

/** Errors: InferenceFault. What is no message at all is left to whoever reads it. */
export function checkMessage(message: Uint8Array): void {
  let [inputs, outputs, raw, contentBytes, rawBytes] = [0, 0, 0, 0, 0]
  for (const { field, start, end } of fieldsOf(message, 0, message.length)) {
    if (field === RAW_CONTENTS) {
      raw += 1
      rawBytes += end - start
    }
    if (field === OUTPUTS) outputs += 1
    if (field === INPUTS) {
      inputs += 1
      for (const inner of fieldsOf(message, start, end)) {
        if (inner.field !== CONTENTS) continue
        contentBytes += inner.end - inner.start
        let fields = 0
        for (const value of fieldsOf(message, inner.start, inner.end)) {
          fields += 1
          if (fields > CONTENTS_FIELDS_MAX || value.field === BYTES_CONTENTS)
            throw new InferenceFault(
              'unsupported',
              'Contents must be packed numbers, not texts or numbers one by one. Send raw contents.',
            )
        }
      }
    }
    if (Math.max(inputs, outputs, raw) > TENSORS_MAX)
      throw new InferenceFault('malformed', `There are more than ${TENSORS_MAX} inputs or outputs.`)
  }
  if (contentBytes > CONTENTS_BYTES_MAX)
    throw new InferenceFault(
      'tooLarge',
      `The contents have ${contentBytes} bytes; the limit is ${CONTENTS_BYTES_MAX}. Send raw contents.`,
    )
  const rest = message.length - rawBytes - contentBytes
  if (rest > HEADER_BYTES_MAX)
    throw new InferenceFault(
      'tooLarge',
      `The message has ${rest} bytes beside its contents; the limit is ${HEADER_BYTES_MAX}.`,
    )
}

interface Field {
  readonly field: number
  /** Of its value, where that has a length; else both are where it ends. */
  readonly start: number
  readonly end: number
}

/** Ends where it is no message any more. Errors: InferenceFault, where groups are in it, which may be nested without end. */
function* fieldsOf(message: Uint8Array, from: number, to: number): Generator<Field> {
  let at = from
  /** 32 bits of it: nothing here is larger. */
  const varint = (): number => {
    let value = 0
    for (let shift = 0; at < to && shift < 70; shift += 7) {
      const byte = message[at] as number
      at += 1
      if (shift < 28) value += (byte & 0x7f) << shift
      else if (shift === 28) value += (byte & 0x0f) * 2 ** 28
      if (byte < 0x80) return value
    }
    return to
  }
  while (at < to) {
    const key = varint()
    const field = key >>> 3
    let start = at
    switch (key & 7) {
      case 0:
        varint()
        start = at
        break
      case 1:
        at += 8
        start = at
        break
      case 2: {
        const length = varint()
        start = at
        at += length
        break
      }
      case 5:
        at += 4
        start = at
        break
      default:
        throw new InferenceFault('malformed', 'The message is none of the protocol.')
    }
    if (at > to) return
    yield { field, start, end: at }
  }
}
