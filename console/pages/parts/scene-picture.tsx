import { useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import { may } from '../session.ts'
import { LastPicture } from './last-picture.tsx'
import { LivePicture } from './live-picture.tsx'

/** What a camera sees, as the ground of what is drawn on it: its newest picture, or live for who may. */
export function ScenePicture({ camera, isLive }: { readonly camera: Camera; readonly isLive: boolean }) {
  // A crop of a face is no picture of the scene.
  return isLive ? <LivePicture camera={camera} /> : <LastPicture camera={{ ...camera, newest: null }} />
}

/** Whether it is shown live, and a button for that. */
export function useLiveChoice(camera: Camera | undefined) {
  const [wanted, setWanted] = useState(false)
  const can = camera !== undefined && may('live') && camera.is === 'live'
  const isLive = can && wanted
  const button = can && (
    <button type="button" class="button" aria-pressed={isLive} onClick={() => setWanted(!wanted)}>
      {isLive ? 'Show the last picture' : 'Show it live'}
    </button>
  )
  return { isLive, button }
}
