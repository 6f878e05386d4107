import { CLIP_VERSION, type ClipMetadata, writeClip } from '../../wire/clip.ts'
import { newId } from '../../wire/id.ts'

/** A box of MP4 with this content. */
function box(type: string, content: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(8 + content.length, 0)
  head.write(type, 4, 'latin1')
  return Buffer.concat([head, content])
}

/**
 * A chunk that every program but a player takes for one: its boxes are in order, and there is noise in place of a video.
 * @param bytes of the noise
 */
export function makeClip(settings: Partial<ClipMetadata> = {}, bytes = 2000) {
  const init = Buffer.concat([box('ftyp', Buffer.from('isom')), box('moov', Buffer.alloc(64))])
  const capturedAtMs = settings.capturedAtMs ?? Date.now()
  const durationMs = settings.durationMs ?? 3000
  const metadata: ClipMetadata = {
    v: CLIP_VERSION,
    id: newId(),
    site: 'site',
    device: 'device',
    camera: 'camera',
    capturedAtMs,
    endMs: capturedAtMs + Math.round(durationMs),
    clockSane: true,
    durationMs,
    frames: 75,
    frame: [640, 360],
    codec: 'h264',
    codecs: 'avc1.64001e',
    initBytes: init.length,
    independent: true,
    encoded: false,
    run: newId(),
    sequence: 0,
    because: 'always',
    ...settings,
  }
  const noise = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += 1) noise[at] = (at * 31 + capturedAtMs) & 0xff
  const payload = writeClip(init, [box('moof', Buffer.alloc(32)), box('mdat', noise)], metadata)
  return { metadata, payload }
}
