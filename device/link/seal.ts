import { type ClipMetadata, writeClip } from '../../wire/clip.ts'
import { type CropMetadata, writeCrop } from '../../wire/crop.ts'

/** Makes the message that travels: metadata into the file, and the device's signature where it has a key. */
export interface Seal {
  crop(jpeg: Uint8Array, metadata: CropMetadata): Buffer
  /** @param init ftyp and moov @param fragments moof and mdat, one or more */
  clip(init: Buffer, fragments: readonly Buffer[], metadata: ClipMetadata): Buffer
}

/** Without a key. */
export const PLAIN_SEAL: Seal = { crop: writeCrop, clip: writeClip }
