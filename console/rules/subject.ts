import type { Notice } from '../../wire/notice.ts'
import type { StoredClip } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Detection } from '../database/detection.ts'
import type { Looked } from './looked.ts'
import type { Told } from './sentences.ts'

/** What a notice is about. */
export interface Subject {
  readonly atMs: number
  readonly camera: CameraAddress | undefined
  readonly site: string | undefined
  readonly device: string | undefined
  readonly place: string | undefined
  readonly looked: Looked
  readonly track?: string | undefined
  readonly detection?: Detection | undefined
  readonly clip?: StoredClip | undefined
  readonly count?: number | undefined
}

/** Of pictures of one face: a greater one is better, and the best at the end is better than any before. */
export const rankOf = ({ quality, shot }: Detection) => (quality?.total ?? 0) + (shot === 'best' ? 1 : 0)

export function subjectOf(
  { site, device, camera }: CameraAddress,
  atMs: number,
  looked: Looked,
  more: Pick<Subject, 'track' | 'detection' | 'clip'>,
): Subject {
  return {
    atMs,
    camera: { site, device, camera },
    site,
    device,
    place: `${site}/${device}/${camera}`,
    looked,
    ...more,
  }
}

export function placeOf({ camera, site, device }: Subject): Pick<Notice, 'site' | 'device' | 'camera'> {
  return {
    ...(site !== undefined && { site }),
    ...(device !== undefined && { device }),
    ...(camera && { camera: camera.camera }),
  }
}

export function toldOf({ place, looked, count }: Subject, ended: boolean): Told {
  return {
    place,
    states: looked.states,
    zones: looked.zones,
    zone: looked.zone,
    event: looked.event,
    count,
    masked: looked.masked,
    attributes: looked.attributes,
    kind: looked.kind,
    ended,
  }
}

export function objectOf({ detection, clip }: Subject): Notice['object'] {
  const it = detection ?? clip
  if (!it) return undefined
  return {
    kind: clip ? 'clip' : 'crop',
    key: it.key,
    id: it.id,
    bytes: it.bytes,
    sha256: it.sha256,
    capturedAtMs: it.capturedAtMs,
    ...(clip && { endMs: clip.endMs }),
    storedAtMs: it.storedAtMs,
    frame: [it.frame[0], it.frame[1]],
  }
}
