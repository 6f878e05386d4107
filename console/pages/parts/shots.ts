import type { Detection } from '../../api/detections.ts'

/**
 * Faces as one shows them: of a face whose first picture came at once and whose best one has come since, the best alone. The
 * API leaves the first out as well; this is for what has come meanwhile. Pure.
 */
export function withoutSuperseded(faces: readonly Detection[]): readonly Detection[] {
  const best = new Set(faces.flatMap((face) => (face.shot === 'best' && face.track ? [trackOf(face)] : [])))
  return faces.filter((face) => !face.superseded && !(face.shot === 'first' && best.has(trackOf(face))))
}

const trackOf = ({ site, device, camera, track }: Detection) => `${site}/${device}/${camera} ${track}`
