import { failure } from '../../lib/errors.ts'
import { boxesOf } from '../../wire/clip.ts'

/**
 * Fragmented MP4 put together from chunks, without a look at their pictures: of each fragment the time stamps
 * (`moof/traf/tfdt`) and its number (`moof/mfhd`) are written anew, so that what comes from several runs plays as one. The
 * boxes of ISO/IEC 14496-12, as far as chunks have them. Pure.
 */

interface Track {
  /** Units of its time stamps in a second. */
  readonly timescale: number
  /** Of a sample, where fragments do not say it. */
  readonly sampleDuration: number
}

interface Box {
  readonly type: string
  readonly from: number
  /** Behind its header. */
  readonly body: number
  readonly to: number
}

const unreadable = (what: string) =>
  failure('RECORDING_UNREADABLE', `A chunk cannot be put together with others: ${what}.`)

/** The boxes within a stretch of a file. Errors: RECORDING_UNREADABLE */
function* within(file: Buffer, from: number, to: number): Generator<Box> {
  for (let at = from; at < to; ) {
    const bytes = at + 8 <= to ? file.readUInt32BE(at) : 0
    if (bytes < 8 || at + bytes > to) throw unreadable('a box reaches beyond its end')
    yield { type: file.toString('latin1', at + 4, at + 8), from: at, body: at + 8, to: at + bytes }
    at += bytes
  }
}

const childOf = (file: Buffer, box: Box | undefined, type: string) => {
  if (!box) return undefined
  for (const it of within(file, box.body, box.to)) if (it.type === type) return it
  return undefined
}

/** A number of 32 bits at an offset of a box's body. */
function word(file: Buffer, { body, to }: Box, at: number): number {
  if (body + at + 4 > to) throw unreadable('a box is too short')
  return file.readUInt32BE(body + at)
}

const versionOf = (file: Buffer, box: Box) => word(file, box, 0) >>> 24
const flagsOf = (file: Buffer, box: Box) => word(file, box, 0) & 0xffffff

/** The tracks of a beginning (ftyp and moov), by number. */
export function tracksOf(init: Buffer): ReadonlyMap<number, Track> {
  const moov = [...within(init, 0, init.length)].find(({ type }) => type === 'moov')
  if (!moov) throw unreadable('it has no moov')
  const durations = new Map<number, number>()
  const mvex = childOf(init, moov, 'mvex')
  if (mvex)
    for (const it of within(init, mvex.body, mvex.to))
      if (it.type === 'trex') durations.set(word(init, it, 4), word(init, it, 12))
  const tracks = new Map<number, Track>()
  for (const trak of within(init, moov.body, moov.to)) {
    if (trak.type !== 'trak') continue
    const tkhd = childOf(init, trak, 'tkhd')
    const mdhd = childOf(init, childOf(init, trak, 'mdia'), 'mdhd')
    if (!tkhd || !mdhd) throw unreadable('a track has no header')
    const id = word(init, tkhd, versionOf(init, tkhd) === 1 ? 20 : 12)
    const timescale = word(init, mdhd, versionOf(init, mdhd) === 1 ? 20 : 12)
    if (timescale === 0) throw unreadable('a track has no time scale')
    tracks.set(id, { timescale, sampleDuration: durations.get(id) ?? 0 })
  }
  if (tracks.size === 0) throw unreadable('it has no tracks')
  return tracks
}

/** Where a fragment says when a track's samples begin. */
interface Placed {
  readonly track: Track
  /** Of the number in the file, and how long it is. */
  readonly at: number
  readonly isLong: boolean
  readonly value: bigint
  /** In units of the track. */
  readonly duration: number
}

/** Chunk after chunk: the first with what it begins with, of each the fragments, their time stamps going on from the one before. */
export class Splice {
  readonly #init: Buffer
  readonly #tracks: ReadonlyMap<number, Track>
  #number = 0
  /** When what was put together so far ends, s. */
  #endS = 0
  /** What is added to time stamps of the chunk, s; undefined before the first. */
  #shiftS: number | undefined

  /** @param init ftyp and moov: all chunks begin with the same. Errors of all methods: RECORDING_UNREADABLE */
  constructor(init: Buffer) {
    this.#init = Buffer.from(init)
    this.#tracks = tracksOf(this.#init)
  }

  /** What the file begins with. */
  get init(): Buffer {
    return this.#init
  }

  /** How long it is so far, s. */
  get lengthS(): number {
    return this.#endS
  }

  /**
   * @param file the whole chunk; it is left as it is
   * @param follows whether its time stamps go on from those of the chunk before
   * @returns its fragments, as parts to be written one after the other
   */
  add(file: Buffer, follows: boolean): readonly Buffer[] {
    const { boxes, whole } = boxesOf(file)
    if (!whole) throw unreadable('it is truncated')
    const parts: Buffer[] = []
    const fragments = boxes.filter(({ type }) => type === 'moof' || type === 'mdat')
    const moofs = fragments
      .filter(({ type }) => type === 'moof')
      .map(({ at, bytes }) => {
        const copy = Buffer.from(file.subarray(at, at + bytes))
        return { at, copy, placed: this.#placesIn(copy) }
      })
    if (moofs.length === 0) throw unreadable('it has no fragment')
    const all = moofs.flatMap(({ placed }) => placed)
    const startS = Math.min(...all.map(({ value, track }) => Number(value) / track.timescale))
    // Behind all that was before: also sound, which may end later than the picture.
    if (!follows || this.#shiftS === undefined) this.#shiftS = this.#endS - startS
    const shiftS = this.#shiftS
    for (const { placed, copy } of moofs) {
      for (const it of placed) this.#place(copy, it, shiftS)
      this.#number += 1
      const mfhd = childOf(copy, { type: 'moof', from: 0, body: 8, to: copy.length }, 'mfhd')
      if (!mfhd || mfhd.to - mfhd.body < 8) throw unreadable('a fragment has no number')
      copy.writeUInt32BE(this.#number, mfhd.body + 4)
    }
    const copies = new Map(moofs.map(({ at, copy }) => [at, copy]))
    for (const { at, bytes } of fragments) parts.push(copies.get(at) ?? file.subarray(at, at + bytes))
    return parts
  }

  #place(moof: Buffer, { at, isLong, value, track, duration }: Placed, shiftS: number): void {
    const moved = value + BigInt(Math.round(shiftS * track.timescale))
    const placed = moved < 0n ? 0n : moved
    if (isLong) moof.writeBigUInt64BE(placed, at)
    else if (placed <= 0xffffffffn) moof.writeUInt32BE(Number(placed), at)
    else throw unreadable('its time stamps do not fit')
    this.#endS = Math.max(this.#endS, (Number(placed) + duration) / track.timescale)
  }

  #placesIn(moof: Buffer): readonly Placed[] {
    const placed: Placed[] = []
    for (const traf of within(moof, 8, moof.length)) {
      if (traf.type !== 'traf') continue
      const tfhd = childOf(moof, traf, 'tfhd')
      const tfdt = childOf(moof, traf, 'tfdt')
      if (!tfhd || !tfdt) throw unreadable('a fragment does not say when it begins')
      const track = this.#tracks.get(word(moof, tfhd, 4))
      if (!track) throw unreadable('a fragment is of a track that there is not')
      const flags = flagsOf(moof, tfhd)
      // From the beginning of the file: what was before has another length now.
      if (flags & 0x1) throw unreadable('a fragment counts from the beginning of its file')
      const sampleDuration = flags & 0x8 ? word(moof, tfhd, 8 + (flags & 0x2 ? 4 : 0)) : track.sampleDuration
      let duration = 0
      for (const trun of within(moof, traf.body, traf.to))
        if (trun.type === 'trun') duration += durationOf(moof, trun, sampleDuration)
      const isLong = versionOf(moof, tfdt) === 1
      const at = tfdt.body + 4
      if (tfdt.to - at < (isLong ? 8 : 4)) throw unreadable('a box is too short')
      const value = isLong ? moof.readBigUInt64BE(at) : BigInt(moof.readUInt32BE(at))
      placed.push({ track, at, isLong, value, duration })
    }
    if (placed.length === 0) throw unreadable('a fragment has no track')
    return placed
  }
}

/** Of the samples of a run, in units of its track. */
function durationOf(file: Buffer, trun: Box, sampleDuration: number): number {
  const flags = flagsOf(file, trun)
  const count = word(file, trun, 4)
  const perSample = [0x100, 0x200, 0x400, 0x800].filter((flag) => flags & flag).length * 4
  const first = 8 + (flags & 0x1 ? 4 : 0) + (flags & 0x4 ? 4 : 0)
  if (trun.body + first + count * perSample > trun.to) throw unreadable('a box is too short')
  if (!(flags & 0x100)) return count * sampleDuration
  let duration = 0
  for (let n = 0; n < count; n += 1) duration += word(file, trun, first + n * perSample)
  return duration
}
