/**
 * FLV as FFmpeg reads it, written tag by tag (Adobe's FLV 10.1; Enhanced RTMP v2 for Opus): a publisher's H.264 reaches its
 * camera in it, whether it came by RTMP or WHIP, and a change of its parameters has a place there. FFmpeg 8 reads no VP8 from
 * FLV: see whip-matroska.ts. Pure.
 */

const TAG_AUDIO = 8
const TAG_VIDEO = 9
const TAG_HEAD_BYTES = 11
/** What 24 bits of a tag's length hold. */
export const FLV_PAYLOAD_BYTES_MAX = 0xff_ffff

const FRAME_KEY = 1
const FRAME_INTER = 2
/** Of the classic form: AVC. */
const CODEC_AVC = 7
const AVC_HEADER = 0
const AVC_FRAME = 1
/** Of the enhanced form. */
const AUDIO_ENHANCED = 9
const SEQUENCE_START = 0
const CODED_FRAMES = 1

/** The file's beginning. */
export function flvHead({ audio }: { readonly audio: boolean }): Buffer {
  return Buffer.from([0x46, 0x4c, 0x56, 1, audio ? 5 : 1, 0, 0, 0, 9, 0, 0, 0, 0])
}

/** @param configuration an AVCDecoderConfigurationRecord; again whenever it changes */
export function avcHeader(configuration: Buffer, atMs: number): Buffer {
  return tag(TAG_VIDEO, Buffer.from([(FRAME_KEY << 4) | CODEC_AVC, AVC_HEADER, 0, 0, 0]), configuration, atMs)
}

/** @param units NAL units, each with its length in four bytes before it */
export function avcFrame(units: Buffer, isKey: boolean, atMs: number): Buffer {
  const kind = isKey ? FRAME_KEY : FRAME_INTER
  return tag(TAG_VIDEO, Buffer.from([(kind << 4) | CODEC_AVC, AVC_FRAME, 0, 0, 0]), units, atMs)
}

export function opusHeader(channels: 1 | 2, atMs: number): Buffer {
  return tag(TAG_AUDIO, enhancedAudio(SEQUENCE_START), opusHead(channels), atMs)
}

/** RFC 7845's identification header, which FLV and Matroska take over. */
export function opusHead(channels: 1 | 2): Buffer {
  const head = Buffer.alloc(19)
  head.write('OpusHead')
  head[8] = 1
  head[9] = channels
  head.writeUInt32LE(48_000, 12)
  return head
}

export function opusFrame(packet: Buffer, atMs: number): Buffer {
  return tag(TAG_AUDIO, enhancedAudio(CODED_FRAMES), packet, atMs)
}

const enhancedAudio = (packet: number) =>
  Buffer.concat([Buffer.from([(AUDIO_ENHANCED << 4) | packet]), Buffer.from('Opus')])

function tag(type: number, head: Buffer, payload: Buffer, atMs: number): Buffer {
  const bytes = head.length + payload.length
  const whole = Buffer.allocUnsafe(TAG_HEAD_BYTES + bytes + 4)
  whole[0] = type
  whole.writeUIntBE(bytes, 1, 3)
  // The upper eight bits of the time come after the lower 24.
  whole.writeUIntBE(atMs & 0xff_ffff, 4, 3)
  whole[7] = Math.floor(atMs / 0x100_0000) & 0xff
  whole.writeUIntBE(0, 8, 3)
  head.copy(whole, TAG_HEAD_BYTES)
  payload.copy(whole, TAG_HEAD_BYTES + head.length)
  whole.writeUInt32BE(TAG_HEAD_BYTES + bytes, TAG_HEAD_BYTES + bytes)
  return whole
}
