import type { Attribute } from '../../wire/attributes.ts'
import { ATTRIBUTES_MAX } from '../../wire/attributes.ts'
import { TRACKS_SAID_MAX } from '../limits.ts'

/** What plugins have said of followed faces when they saw them in frames: for the crops of these that come later. */
export class SaidOfTracks {
  /** By camera, then by track: those of whom something was said last are at the end. Then by who says it and of what. */
  readonly #cameras = new Map<string, Map<string, Map<string, Attribute>>>()

  /** The newest of a name holds. */
  add(camera: string, track: string, attribute: Attribute): void {
    const tracks = this.#cameras.get(camera) ?? new Map<string, Map<string, Attribute>>()
    this.#cameras.set(camera, tracks)
    const said = tracks.get(track) ?? new Map<string, Attribute>()
    tracks.delete(track)
    tracks.set(track, said)
    said.set(keyOf(attribute), attribute)
    const [oldestSaid] = said.size > ATTRIBUTES_MAX ? said.keys() : []
    if (oldestSaid !== undefined) said.delete(oldestSaid)
    const [oldest] = tracks.size > TRACKS_SAID_MAX ? tracks.keys() : []
    if (oldest !== undefined) tracks.delete(oldest)
  }

  /** What was said of it so far, and what is said of it now, which goes before what was. */
  with(camera: string, track: string | undefined, now: readonly Attribute[]): readonly Attribute[] {
    const said = track === undefined ? undefined : this.#cameras.get(camera)?.get(track)
    if (!said) return now
    const known = new Set(now.map(keyOf))
    return [...now, ...[...said.values()].filter((it) => !known.has(keyOf(it)))]
  }
}

const keyOf = ({ by = '', name }: Attribute) => `${by}\n${name}`
