import type { Detection } from '../../api/detections.ts'
import { nowMs } from '../now.ts'
import { ago, exact } from '../words.ts'
import { AttributesOnTile } from './attributes.tsx'
import { useNear } from './near.ts'
import { When } from './when.tsx'

/** A face in a grid: a link to it. */
export function FaceTile({ face, isNew = false }: { readonly face: Detection; readonly isNew?: boolean }) {
  return (
    <a class={`face${isNew ? ' face-new' : ''}`} href={`/faces/${face.id}`} data-id={face.id}>
      <FacePicture face={face} />
      <span class="face-caption">
        <span class="face-camera">{face.camera}</span>
        <When atMs={face.capturedAtMs} />
        <AttributesOnTile attributes={face.attributes} />
      </span>
      {face.reviewed && <span class="visually-hidden">, reviewed</span>}
    </a>
  )
}

export function FacePicture({ face, eager = false }: { readonly face: Detection; readonly eager?: boolean }) {
  const [, , width, height] = face.region
  const { target, isNear } = useNear<HTMLImageElement>()
  return (
    <img
      ref={target}
      class="face-picture"
      src={eager || isNear ? face.picture : undefined}
      alt={faceWords(face)}
      width={Math.max(1, Math.round(width))}
      height={Math.max(1, Math.round(height))}
      decoding="async"
      title={exact(face.capturedAtMs)}
    />
  )
}

const faceWords = (face: Detection) =>
  `Face at ${face.camera}, ${ago(face.capturedAtMs, nowMs.peek())}${maskWords(face)}`

const maskWords = ({ masked }: Detection) =>
  masked === null ? '' : masked ? ', with a mask' : ', without a mask'
