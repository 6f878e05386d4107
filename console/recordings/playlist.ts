import { type Clip, follows } from '../database/clip.ts'

/** Chunks as an HLS playlist (RFC 8216), by byte ranges of the files as they lie in the bucket. Pure. */

export interface PlaylistOptions {
  /** Oldest first, the first one independent. */
  readonly clips: readonly Clip[]
  readonly addressOf: (clip: Clip) => string
  /** Where it begins to play, ms since 1970. */
  readonly startMs: number
  /** More may come at its end. */
  readonly isOpen: boolean
}

export function playlistOf({ clips, addressOf, startMs, isOpen }: PlaylistOptions): string {
  const [first] = clips
  const longest = clips.reduce((most, { durationMs }) => Math.max(most, durationMs), 1000)
  const lines = [
    '#EXTM3U',
    '#EXT-X-VERSION:7',
    `#EXT-X-TARGETDURATION:${Math.ceil(longest / 1000)}`,
    `#EXT-X-PLAYLIST-TYPE:${isOpen ? 'EVENT' : 'VOD'}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
  ]
  if (clips.every(({ independent }) => independent)) lines.push('#EXT-X-INDEPENDENT-SEGMENTS')
  if (first && startMs > first.atMs && startMs < first.endMs)
    lines.push(`#EXT-X-START:TIME-OFFSET=${((startMs - first.atMs) / 1000).toFixed(3)},PRECISE=YES`)
  const maps = mapsOf(clips)
  let before: Clip | undefined
  for (const clip of clips) {
    const isNewRun = before?.run !== clip.run
    if (before && (isNewRun || !follows(before, clip))) lines.push('#EXT-X-DISCONTINUITY')
    if (isNewRun) {
      const map = maps.get(clip.run) ?? clip
      lines.push(`#EXT-X-MAP:URI="${addressOf(map)}",BYTERANGE="${map.initBytes}@0"`)
    }
    // The bucket does not have it: players pass over its time.
    if (clip.isLost) lines.push('#EXT-X-GAP')
    lines.push(
      `#EXT-X-PROGRAM-DATE-TIME:${new Date(clip.atMs).toISOString()}`,
      `#EXTINF:${(clip.durationMs / 1000).toFixed(6)},`,
      `#EXT-X-BYTERANGE:${clip.bytes - clip.initBytes}@${clip.initBytes}`,
      addressOf(clip),
    )
    before = clip
  }
  if (!isOpen) lines.push('#EXT-X-ENDLIST')
  return `${lines.join('\n')}\n`
}

/** Of each run the first chunk that is there: all begin alike. */
function mapsOf(clips: readonly Clip[]): ReadonlyMap<string, Clip> {
  const maps = new Map<string, Clip>()
  for (const clip of clips) if (!clip.isLost && !maps.has(clip.run)) maps.set(clip.run, clip)
  return maps
}
