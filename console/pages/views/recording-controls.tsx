import { type Signal, useSignalEffect } from '@preact/signals'
import type { RefObject } from 'preact'
import { useRef } from 'preact/hooks'
import { icons } from '../parts/icons.tsx'
import { say } from '../parts/said.tsx'
import { clockWithSeconds, dayAndClock } from '../words.ts'
import { type Playback, SPEEDS } from './playback.ts'
import { HOUR_MS, MINUTE_MS, spanned, spanOf, type View } from './timeline-scale.ts'

const STEP_MS = 10_000
const CLOSE_MS = 10 * MINUTE_MS

/** Playing, seeking, zooming: what the keys do, for pointers and thumbs. */
export function RecordingControls({
  playback,
  day,
  view,
  goingField,
  isToday,
  isFollowing,
  seek,
  toFace,
  toEdge,
  zoom,
}: {
  readonly playback: Playback
  readonly day: View
  readonly view: Signal<View>
  readonly goingField: RefObject<HTMLInputElement | null>
  readonly isToday: boolean
  readonly isFollowing: boolean
  readonly seek: (atMs: number) => void
  readonly toFace: (to: 'next' | 'previous') => void
  readonly toEdge: () => void
  readonly zoom: (factor: number) => void
}) {
  const isPlaying = playback.isPlaying.value
  const span = spanOf(view.value)
  const wholeDay = spanOf(day)
  const show = (ms: number) => {
    view.value = spanned(day, ms, playback.atMs.peek())
  }
  return (
    <div class="recording-controls">
      <div class="recording-transport">
        <button
          type="button"
          class="icon-button"
          title="Previous face (F)"
          onClick={() => toFace('previous')}
        >
          {icons.faceBefore()}
          <span class="visually-hidden">Previous face</span>
        </button>
        <button
          type="button"
          class="icon-button recording-step"
          title="10 seconds back"
          onClick={() => seek(playback.atMs.peek() - STEP_MS)}
        >
          −10
          <span class="visually-hidden"> seconds</span>
        </button>
        <button
          type="button"
          class="icon-button recording-play"
          title={isPlaying ? 'Pause (space)' : 'Play (space)'}
          onClick={() => playback.toggle()}
        >
          {isPlaying ? icons.pause() : icons.play()}
          <span class="visually-hidden">{isPlaying ? 'Pause' : 'Play'}</span>
        </button>
        <button
          type="button"
          class="icon-button recording-step"
          title="10 seconds on"
          onClick={() => seek(playback.atMs.peek() + STEP_MS)}
        >
          +10
          <span class="visually-hidden"> seconds</span>
        </button>
        <button type="button" class="icon-button" title="Next face (f)" onClick={() => toFace('next')}>
          {icons.faceAfter()}
          <span class="visually-hidden">Next face</span>
        </button>
      </div>
      <Clock playback={playback} />
      <GoTo day={day} field={goingField} seek={seek} />
      <label class="field recording-speed">
        <span class="visually-hidden">Speed</span>
        <select
          value={String(playback.speed.value)}
          onChange={({ currentTarget: { value } }) => {
            playback.speed.value = Number(value)
          }}
        >
          {SPEEDS.map((speed) => (
            <option key={speed} value={String(speed)}>
              {speed} ×
            </option>
          ))}
        </select>
      </label>
      {isToday && (
        <button type="button" class="button recording-edge" aria-pressed={isFollowing} onClick={toEdge}>
          <span class="dot" /> Newest
        </button>
      )}
      <div class="recording-zoom">
        <fieldset class="switch">
          <legend class="visually-hidden">The timeline shows</legend>
          <button type="button" aria-pressed={span === wholeDay} onClick={() => show(wholeDay)}>
            Day
          </button>
          <button type="button" aria-pressed={span === HOUR_MS} onClick={() => show(HOUR_MS)}>
            Hour
          </button>
          <button type="button" aria-pressed={span === CLOSE_MS} onClick={() => show(CLOSE_MS)}>
            10 min
          </button>
        </fieldset>
        <button type="button" class="icon-button" title="Wider (−)" onClick={() => zoom(2)}>
          {icons.wider()}
          <span class="visually-hidden">Wider</span>
        </button>
        <button type="button" class="icon-button" title="Closer (+)" onClick={() => zoom(0.5)}>
          {icons.closer()}
          <span class="visually-hidden">Closer</span>
        </button>
      </div>
    </div>
  )
}

/** By the device's clock, in the reader's zone. */
function Clock({ playback }: { readonly playback: Playback }) {
  const time = useRef<HTMLTimeElement>(null)
  useSignalEffect(() => {
    const element = time.current
    const atMs = playback.atMs.value
    const text = clockWithSeconds(atMs)
    if (!element || element.textContent === text) return
    element.textContent = text
    element.dateTime = new Date(atMs).toISOString()
    element.title = dayAndClock(atMs)
  })
  return <time ref={time} class="recording-clock" />
}

function GoTo({
  day,
  field,
  seek,
}: {
  readonly day: View
  readonly field: RefObject<HTMLInputElement | null>
  readonly seek: (atMs: number) => void
}) {
  const go = () => {
    const [hours = 0, minutes = 0, seconds = 0] = (field.current?.value ?? '').split(':').map(Number)
    const date = new Date(day.fromMs)
    // By the clock of that day, which may have been set on it.
    date.setHours(hours, minutes, seconds)
    if (Number.isNaN(date.getTime())) {
      say('Give a time, such as 14:30:00.', { isError: true })
      return
    }
    seek(date.getTime())
    field.current?.blur()
  }
  return (
    <form
      class="recording-goto"
      onSubmit={(event) => {
        event.preventDefault()
        go()
      }}
    >
      <label class="field">
        <span class="visually-hidden">Go to a time</span>
        <input
          ref={field}
          type="time"
          step="1"
          required
          title="Go to a time (g), with Enter"
          // A thumb has no Enter: its choice is made when the picker closes.
          onChange={() => matchMedia('(pointer: coarse)').matches && go()}
        />
      </label>
      <button type="submit" class="visually-hidden">
        Go
      </button>
    </form>
  )
}
