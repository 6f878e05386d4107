import { useState } from 'preact/hooks'
import { Dialog } from '../parts/dialog.tsx'
import { icons } from '../parts/icons.tsx'
import { count } from '../words.ts'
import { dayName, type View } from './timeline-scale.ts'

/** Which day, and which cameras. */
export function RecordingChoice({
  day,
  keys,
  known,
  camerasMax,
  choose,
  turn,
}: {
  readonly day: View
  readonly keys: readonly string[]
  readonly known: readonly string[]
  readonly camerasMax: number
  readonly choose: (keys: readonly string[]) => void
  readonly turn: (day: string) => void
}) {
  const [isOpen, setOpen] = useState(false)
  const today = dayName(Date.now())
  const isToday = dayName(day.fromMs) >= today
  return (
    <div class="recording-choice">
      <div class="recording-day">
        <button
          type="button"
          class="icon-button"
          aria-label="The day before"
          onClick={() => turn(dayName(day.fromMs - 1))}
        >
          {icons.left()}
        </button>
        <label class="field">
          <span class="visually-hidden">Day</span>
          <input
            type="date"
            required
            max={today}
            value={dayName(day.fromMs)}
            onChange={({ currentTarget: { value } }) => value !== '' && turn(value)}
          />
        </label>
        <button
          type="button"
          class="icon-button"
          aria-label="The day after"
          aria-disabled={isToday ? 'true' : undefined}
          onClick={() => !isToday && turn(dayName(day.toMs))}
        >
          {icons.right()}
        </button>
      </div>
      <button type="button" class="button" onClick={() => setOpen(true)}>
        {icons.cameras()} {keys.length === 0 ? 'Choose cameras' : count(keys.length, 'camera')}
      </button>
      {isOpen && (
        <Dialog title="Cameras" onClose={() => setOpen(false)}>
          <p class="muted">Up to {camerasMax} play in step, under one playhead.</p>
          <fieldset class="choices">
            <legend class="visually-hidden">Cameras</legend>
            {known.map((key) => {
              const isChosen = keys.includes(key)
              return (
                <label key={key}>
                  <input
                    type="checkbox"
                    checked={isChosen}
                    disabled={isChosen ? keys.length === 1 : keys.length >= camerasMax}
                    onChange={() => choose(isChosen ? keys.filter((it) => it !== key) : [...keys, key])}
                  />
                  <span>
                    {key.split('/').at(-1)}{' '}
                    <span class="muted">{key.split('/').slice(0, 2).join(' · ')}</span>
                  </span>
                </label>
              )
            })}
          </fieldset>
          <p class="buttons">
            <button type="button" class="button button-strong" onClick={() => setOpen(false)}>
              Done
            </button>
          </p>
        </Dialog>
      )}
    </div>
  )
}
