import type { Camera } from '../../api/cameras.ts'
import { nowMs } from '../now.ts'
import { duration, exact } from '../words.ts'

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

/** Pictures come, and faces are not looked for as they should be: a sentence for a tile; undefined where all is well. */
export function whatLooksBadly({ is, state }: Camera): string | undefined {
  if (is !== 'live' || !state) return undefined
  if (state.detect?.on === 'none') return 'Nobody looks for faces at the moment.'
  const broken = state.process?.filter((one) => one.state === 'down').map(({ name }) => `"${name}"`) ?? []
  if (broken.length > 0) return `${broken.join(', ')} ${broken.length === 1 ? 'does' : 'do'} not work.`
  if (isWithoutServers(state)) return 'Its device looks for faces itself: no inference server does.'
  return undefined
}

type State = NonNullable<Camera['state']>

const isWithoutServers = ({ detect }: State) => detect?.on === 'local' && detect.why !== null

const LOOKS: Readonly<Record<NonNullable<State['detect']>['on'], string>> = {
  remote: 'By an inference server',
  local: 'By this device',
  none: 'By nobody',
}

/** Where faces are looked for, of a device that has inference servers, and how its classifiers and plugins are; a part of a list of facts. */
export function LooksFacts({
  state,
  said,
}: {
  readonly state: State
  /** What is said of the camera beside it already: it is not said again. */
  readonly said: string | undefined
}) {
  const { detect, process = [] } = state
  return (
    <>
      {detect && (
        <>
          <dt>Faces are looked for</dt>
          <dd>
            <span
              class="tone"
              data-tone={detect.on === 'none' ? 'bad' : detect.why === null ? 'good' : 'late'}
            >
              <span class="dot" />
              {LOOKS[detect.on]}
            </span>{' '}
            <span class="muted" title={exact(detect.sinceMs)}>
              for {duration(Math.max(0, nowMs.value - detect.sinceMs))}
            </span>
            {detect.why !== null && detect.why !== said && <span class="note">{detect.why}</span>}
          </dd>
        </>
      )}
      {process.length > 0 && (
        <>
          <dt>Second looks by</dt>
          <dd>
            <ul class="processors">
              {process.map(({ name, state, why }) => (
                <li key={name}>
                  <span class="tone" data-tone={state === 'up' ? 'good' : 'bad'}>
                    <span class="dot" />
                    {name}
                    {state === 'down' && ': does not work'}
                  </span>
                  {why !== null && <span class="note">{why}</span>}
                </li>
              ))}
            </ul>
          </dd>
        </>
      )}
    </>
  )
}
