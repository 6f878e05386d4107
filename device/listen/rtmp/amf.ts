/**
 * AMF0, as RTMP's commands are written in (Adobe's specification of 2007): what a hostile one can cost is bounded by depth
 * and by the number of values. Pure.
 */

export type AmfValue =
  | number
  | boolean
  | string
  | null
  | undefined
  | readonly AmfValue[]
  | { readonly [key: string]: AmfValue }

const DEPTH_MAX = 8
const VALUES_MAX = 500

const NUMBER = 0x00
const BOOLEAN = 0x01
const STRING = 0x02
const OBJECT = 0x03
const NULL = 0x05
const UNDEFINED = 0x06
const ECMA_ARRAY = 0x08
const OBJECT_END = 0x09
const STRICT_ARRAY = 0x0a
const DATE = 0x0b
const LONG_STRING = 0x0c
const UNSUPPORTED = 0x0d

/** What cannot be read. */
export class AmfFault extends Error {}

interface Reading {
  readonly bytes: Buffer
  at: number
  values: number
}

/** All values, one after the other. Throws AmfFault. */
export function readAmf(bytes: Buffer): AmfValue[] {
  const reading: Reading = { bytes, at: 0, values: 0 }
  const values: AmfValue[] = []
  while (reading.at < bytes.length) values.push(readValue(reading, 0))
  return values
}

function readValue(reading: Reading, depth: number): AmfValue {
  if (depth > DEPTH_MAX) throw new AmfFault('too deep')
  reading.values += 1
  if (reading.values > VALUES_MAX) throw new AmfFault('too many values')
  const type = take(reading, 1)
  switch (reading.bytes[type]) {
    case NUMBER:
      return reading.bytes.readDoubleBE(take(reading, 8))
    case BOOLEAN:
      return reading.bytes[take(reading, 1)] !== 0
    case STRING:
      return readText(reading, reading.bytes.readUInt16BE(take(reading, 2)))
    case LONG_STRING:
      return readText(reading, reading.bytes.readUInt32BE(take(reading, 4)))
    case OBJECT:
      return readObject(reading, depth)
    case ECMA_ARRAY:
      take(reading, 4) // how many, approximately
      return readObject(reading, depth)
    case STRICT_ARRAY: {
      const length = reading.bytes.readUInt32BE(take(reading, 4))
      if (length > VALUES_MAX) throw new AmfFault('too many values')
      const list: AmfValue[] = []
      for (let i = 0; i < length; i += 1) list.push(readValue(reading, depth + 1))
      return list
    }
    case DATE:
      return reading.bytes.readDoubleBE(take(reading, 10)) // and a time zone, which is reserved
    case NULL:
      return null
    case UNDEFINED:
    case UNSUPPORTED:
      return undefined
    default:
      throw new AmfFault(`unknown type ${reading.bytes[type]}`)
  }
}

function readObject(reading: Reading, depth: number): AmfValue {
  const pairs: [string, AmfValue][] = []
  for (;;) {
    const key = readText(reading, reading.bytes.readUInt16BE(take(reading, 2)))
    if (key === '' && reading.bytes[reading.at] === OBJECT_END) {
      reading.at += 1
      return Object.fromEntries(pairs)
    }
    pairs.push([key, readValue(reading, depth + 1)])
  }
}

function readText(reading: Reading, length: number): string {
  const at = take(reading, length)
  return reading.bytes.toString('utf8', at, at + length)
}

/** @returns where so many bytes begin */
function take(reading: Reading, length: number): number {
  const { at } = reading
  if (at + length > reading.bytes.length) throw new AmfFault('cut off')
  reading.at += length
  return at
}

/** The text of the first value, where it is one, and where the second value begins. Looks at no more. */
export function firstText(bytes: Buffer): { readonly text: string; readonly end: number } | undefined {
  if (bytes[0] !== STRING || bytes.length < 3) return undefined
  const end = 3 + bytes.readUInt16BE(1)
  return end <= bytes.length ? { text: bytes.toString('utf8', 3, end), end } : undefined
}

export function writeAmf(...values: readonly AmfValue[]): Buffer {
  return Buffer.concat(values.flatMap((value) => parts(value)))
}

function parts(value: AmfValue): Buffer[] {
  switch (typeof value) {
    case 'number': {
      const bytes = Buffer.alloc(9)
      bytes.writeDoubleBE(value, 1)
      return [bytes]
    }
    case 'boolean':
      return [Buffer.from([BOOLEAN, value ? 1 : 0])]
    case 'string':
      return [Buffer.from([STRING]), text(value)]
    case 'object': {
      if (value === null) return [Buffer.from([NULL])]
      if (Array.isArray(value)) {
        const head = Buffer.alloc(5)
        head[0] = STRICT_ARRAY
        head.writeUInt32BE(value.length, 1)
        return [head, ...value.flatMap((it: AmfValue) => parts(it))]
      }
      const pairs = Object.entries(value as { readonly [key: string]: AmfValue })
      return [
        Buffer.from([OBJECT]),
        ...pairs.flatMap(([key, it]) => [text(key), ...parts(it)]),
        Buffer.from([0, 0, OBJECT_END]),
      ]
    }
    default:
      return [Buffer.from([UNDEFINED])]
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  const head = Buffer.alloc(2)
  head.writeUInt16BE(bytes.length)
  return Buffer.concat([head, bytes])
}
