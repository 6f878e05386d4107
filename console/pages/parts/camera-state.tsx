import type { Camera } from '../../api/cameras.ts'

/** A camera's state in a word, with a dot whose colour says it again. */

const WORDS: Readonly<Record<Camera['is'], string>> = {
  live: 'Live',
  paused: 'Paused',
  opening: 'Opening',
  waiting: 'Nobody publishes',
  down: 'Down',
  ended: 'Ended',
  offline: 'Offline',
  unknown: 'Unknown',
}

const TONES: Readonly<Record<Camera['is'], 'good' | 'late' | 'bad' | 'quiet'>> = {
  live: 'good',
  paused: 'late',
  opening: 'late',
  waiting: 'quiet',
  down: 'bad',
  ended: 'quiet',
  offline: 'bad',
  unknown: 'quiet',
}

export function CameraIs({ camera }: { readonly camera: Pick<Camera, 'is'> }) {
  return (
    <span class="tone" data-tone={TONES[camera.is]}>
      <span class="dot" />
      {WORDS[camera.is]}
    </span>
  )
}

/** What is wrong with it, in a sentence; undefined where nothing is. */
export function whatIsWrong(camera: Camera): string | undefined {
  switch (camera.is) {
    case 'down':
      return camera.state?.why ?? 'The camera gives no picture.'
    case 'offline':
      return `The device ${camera.device} is not connected.`
    case 'ended':
      return 'The file has ended.'
    case 'unknown':
      return 'It has not reported its state. Only its faces are known.'
    default:
      return viewWords(camera)
  }
}

/** Pictures come, and yet nothing is to be seen in them. */
function viewWords({ state }: Camera): string | undefined {
  switch (state?.view?.is) {
    case 'covered':
      return 'The camera is covered: nothing is to be seen.'
    case 'turned':
      return 'The camera looks at another scene than before.'
    case 'frozen':
      return 'The camera gives the same picture over and over.'
    default:
      return undefined
  }
}
