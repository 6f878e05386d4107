import type { Camera, Command } from '../../api/cameras.ts'
import { useLoaded } from '../loaded.ts'
import * as recordings from '../recordings.ts'
import { may } from '../session.ts'
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
  const now = Date.now()
  const measured = useLoaded(`record of ${key}`, (signal) =>
    may('recordings')
      ? recordings.days(key, { fromMs: now - MEASURED_DAYS * DAY_MS, toMs: now }, signal)
      : Promise.resolve({ items: [] }),
  )
  if (!record) return null
  const total = { bytes: 0, durationMs: 0 }
  for (const day of measured.value?.items ?? []) {
    total.bytes += day.bytes
    total.durationMs += day.durationMs
  }
  const always = total.durationMs < MEASURED_MS_MIN ? undefined : (total.bytes / total.durationMs) * DAY_MS
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
        {measured.isLoading && measured.value === undefined
          ? 'Measuring what it costs …'
          : always === undefined
            ? 'What it costs a day is measured once it has recorded for a minute.'
            : `Always: about ${bytes(always)} a day, as measured.${facesWords(measured.value?.items ?? [], always)}`}
      </p>
    </fieldset>
  )
}

/** What the days so far had, where that is less than the whole day. */
function facesWords(days: readonly { readonly bytes: number }[], always: number): string {
  const most = Math.max(0, ...days.map((day) => day.bytes))
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
