import { opusHead } from './whip-flv.ts'

/**
 * Matroska without an end (RFC 9559), frame by frame: VP8, with Opus, on its way to FFmpeg, which reads no VP8 from FLV. Each
 * frame is a cluster of its own, so that a reader has it whole once its last byte is there. Pure.
 */

const CLUSTER = 0x1f43b675
/** Where a cluster of ours says whose block it holds: after its id and size, its time, and the block's id and size. */
const TRACK_AT = 4 + 8 + (1 + 8 + 8) + (1 + 8)
const VIDEO = 1
const AUDIO = 2
const TYPE_VIDEO = 1
const TYPE_AUDIO = 2
/** A segment that ends when its stream does. */
const UNKNOWN_SIZE = Buffer.from([0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
const KEY_FLAG = 0x80
/** Opus needs so much before it sounds right after a seek, ns. */
const SEEK_PRE_ROLL_NS = 80_000_000

export function matroskaHead(
  size: { readonly width: number; readonly height: number },
  { channels }: { readonly channels: 1 | 2 | undefined },
): Buffer {
  const video = element(0xae, [
    unsigned(0xd7, VIDEO),
    unsigned(0x73c5, VIDEO),
    unsigned(0x83, TYPE_VIDEO),
    unsigned(0x9c, 0),
    text(0x86, 'V_VP8'),
    element(0xe0, [unsigned(0xb0, size.width), unsigned(0xba, size.height)]),
  ])
  const audio =
    channels === undefined
      ? []
      : [
          element(0xae, [
            unsigned(0xd7, AUDIO),
            unsigned(0x73c5, AUDIO),
            unsigned(0x83, TYPE_AUDIO),
            unsigned(0x9c, 0),
            text(0x86, 'A_OPUS'),
            element(0x63a2, [opusHead(channels)]),
            unsigned(0x56bb, SEEK_PRE_ROLL_NS),
            element(0xe1, [float(0xb5, 48_000), unsigned(0x9f, channels)]),
          ]),
        ]
  return Buffer.concat([
    element(0x1a45dfa3, [
      unsigned(0x4286, 1),
      unsigned(0x42f7, 1),
      unsigned(0x42f2, 4),
      unsigned(0x42f3, 8),
      text(0x4282, 'matroska'),
      unsigned(0x4287, 4),
      unsigned(0x4285, 2),
    ]),
    id(0x18538067),
    UNKNOWN_SIZE,
    // Times in ms.
    element(0x1549a966, [
      unsigned(0x2ad7b1, 1_000_000),
      text(0x4d80, 'Sightline'),
      text(0x5741, 'Sightline'),
    ]),
    element(0x1654ae6b, [video, ...audio]),
  ])
}

export function matroskaFrame(
  of: 'video' | 'audio',
  frame: Buffer,
  { isKey, atMs }: { readonly isKey: boolean; readonly atMs: number },
): Buffer {
  const block = Buffer.from([0x80 | (of === 'video' ? VIDEO : AUDIO), 0, 0, isKey ? KEY_FLAG : 0])
  return element(CLUSTER, [unsigned(0xe7, atMs), element(0xa3, [block, frame])])
}

/** Of what `matroskaFrame` makes. */
export function isMatroskaPicture(bytes: Buffer): boolean {
  return bytes.length > TRACK_AT && bytes.readUInt32BE(0) === CLUSTER && bytes[TRACK_AT] === (0x80 | VIDEO)
}

function element(of: number, parts: readonly Buffer[]): Buffer {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0)
  const size = Buffer.alloc(8)
  size.writeUInt32BE(0x0100_0000 | Math.floor(bytes / 2 ** 32))
  size.writeUInt32BE(bytes >>> 0, 4)
  return Buffer.concat([id(of), size, ...parts])
}

function id(of: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(of)
  return bytes.subarray(of > 0xff_ffff ? 0 : of > 0xffff ? 1 : of > 0xff ? 2 : 3)
}

function unsigned(of: number, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return element(of, [bytes])
}

function float(of: number, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return element(of, [bytes])
}

const text = (of: number, value: string) => element(of, [Buffer.from(value)])
