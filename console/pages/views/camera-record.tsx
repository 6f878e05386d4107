import type { Camera, Command } from '../../api/cameras.ts'
import { useLoaded } from '../loaded.ts'
import * as recordings from '../recordings.ts'
import { bytes, cameraKey } from '../words.ts'

/** What of a camera is recorded, and what viewers see of it: two switches, and what they cost. */

type State = NonNullable<Camera['state']>
type Mode = NonNullable<State['record']>['mode']
type Effect = NonNullable<State['effect']>
type Tell = (what: string, command: Command) => Promise<void>

const MODES: readonly (readonly [Mode, string])[] = [
  ['off', 'Off'],
  ['faces', 'Around faces'],
  ['always', 'Always'],
]
const EFFECTS: readonly (readonly [Effect, string])[] = [
  ['none', 'None'],
  ['pixelate', 'Faces pixelated'],
  ['outline', 'Outlines'],
]
const DAY_MS = 86_400_000
/** What it costs is measured over so many days. */
const MEASURED_DAYS = 14
/** Shorter, a measurement says nothing. */
const MEASURED_MS_MIN = 60_000

/** Whether it records now, and why not where it should. */
export function RecordingIs({ camera }: { readonly camera: Camera }) {
  const record = camera.state?.record
  if (!record || (record.mode === 'off' && !record.recording)) return null
  return (
    <span class="recording-is" data-is={record.recording ? 'on' : 'off'}>
      <span class="dot" />
      {record.recording ? 'Recording' : record.mode === 'faces' ? 'Records around faces' : 'Not recording'}
    </span>
  )
}

export function RecordSwitch({
  camera,
  isWaiting,
  tell,
}: {
  readonly camera: Camera
  readonly isWaiting: boolean
  readonly tell: Tell
}) {
  const record = camera.state?.record
  const key = cameraKey(camera)
  const measured = useLoaded(`record of ${key}`, async (signal) => {
    const { items } = await recordings.cameras(signal)
    const all = items.find((it) => cameraKey(it) === key)
    if (!all) return undefined
    const toMs = Date.now()
    const days = await recordings.days(key, { fromMs: toMs - MEASURED_DAYS * DAY_MS, toMs }, signal)
    return { ...all, mostOfADay: Math.max(0, ...days.items.map(({ bytes }) => bytes)) }
  })
  if (!record) return null
  const { value } = measured
  const always =
    value === undefined || value.durationMs < MEASURED_MS_MIN
      ? undefined
      : (value.bytes / value.durationMs) * DAY_MS
  return (
    <fieldset class="camera-switch">
      <legend>Record</legend>
      <div class="switch">
        {MODES.map(([mode, label]) => (
          <button
            key={mode}
            type="button"
            aria-pressed={record.mode === mode}
            disabled={isWaiting}
            onClick={() => void tell(`Record: ${label.toLowerCase()}`, { command: 'record', value: mode })}
          >
            {label}
          </button>
        ))}
      </div>
      {record.why !== null && <p class="note">{record.why}</p>}
      <p class="muted camera-cost">
        {measured.isLoading && value === undefined
          ? 'Measuring what it costs …'
          : always === undefined
            ? 'What it costs a day is measured once it has recorded for a minute.'
            : `Always: about ${bytes(always)} a day, as measured.${facesWords(value?.mostOfADay ?? 0, always)}`}
      </p>
    </fieldset>
  )
}

/** What the days so far had, where that is less than the whole day. */
function facesWords(most: number, always: number): string {
  return most === 0 || most > always * 0.9 ? '' : ` The days so far: up to ${bytes(most)}.`
}

export function EffectSwitch({
  camera,
  isWaiting,
  tell,
}: {
  readonly camera: Camera
  readonly isWaiting: boolean
  readonly tell: Tell
}) {
  const effect = camera.state?.effect
  if (effect === undefined) return null
  return (
    <fieldset class="camera-switch">
      <legend>Viewers see</legend>
      <div class="switch">
        {EFFECTS.map(([value, label]) => (
          <button
            key={value}
            type="button"
            aria-pressed={effect === value}
            disabled={isWaiting}
            onClick={() => void tell(`Effect: ${label.toLowerCase()}`, { command: 'effect', value })}
          >
            {value === 'none' ? 'The scene' : label}
          </button>
        ))}
      </div>
      <p class="muted camera-cost">
        Of the live picture and its addresses. Recordings and faces are as the camera saw them.
      </p>
    </fieldset>
  )
}
