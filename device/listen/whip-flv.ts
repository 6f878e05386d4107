import { FLV_AUDIO, FLV_VIDEO, flvTag } from './flv.ts'

/**
 * What stands in FLV's tags (Adobe's FLV 10.1; Enhanced RTMP v2 for Opus): a publisher's H.264 reaches its
 * camera in it, whether it came by RTMP or WHIP, and a change of its parameters has a place there. FFmpeg 8 reads no VP8 from
 * FLV: see whip-matroska.ts. Pure.
 */

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

/** @param configuration an AVCDecoderConfigurationRecord; again whenever it changes */
export function avcHeader(configuration: Buffer, atMs: number): Buffer {
  return tag(FLV_VIDEO, Buffer.from([(FRAME_KEY << 4) | CODEC_AVC, AVC_HEADER, 0, 0, 0]), configuration, atMs)
}

/** @param units NAL units, each with its length in four bytes before it */
export function avcFrame(units: Buffer, isKey: boolean, atMs: number): Buffer {
  const kind = isKey ? FRAME_KEY : FRAME_INTER
  return tag(FLV_VIDEO, Buffer.from([(kind << 4) | CODEC_AVC, AVC_FRAME, 0, 0, 0]), units, atMs)
}

export function opusHeader(channels: 1 | 2, atMs: number): Buffer {
  return tag(FLV_AUDIO, enhancedAudio(SEQUENCE_START), opusHead(channels), atMs)
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
  return tag(FLV_AUDIO, enhancedAudio(CODED_FRAMES), packet, atMs)
}

const enhancedAudio = (packet: number) =>
  Buffer.concat([Buffer.from([(AUDIO_ENHANCED << 4) | packet]), Buffer.from('Opus')])

const tag = (type: number, head: Buffer, payload: Buffer, atMs: number) =>
  flvTag(type, atMs, Buffer.concat([head, payload]))
