import { useEffect, useId, useState } from 'preact/hooks'
import { nowMs } from '../now.ts'
import type { Schedule } from '../scenario-types.ts'
import { weekdayAndClock } from '../words.ts'
import { ScheduleGrid } from './schedule-grid.tsx'
import {
  DAY_WORDS,
  DAYS,
  type Day,
  type Hours,
  hoursOf,
  hoursWords,
  isActive,
  nextChange,
  timeOf,
  weekOf,
} from './schedule-hours.ts'

/** Hours of the week, painted or typed, in a time zone; and days that are otherwise. */

const STEP_MS = 60_000
const OFFICE: Hours = { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '08:00', to: '18:00' }
const here = () => Intl.DateTimeFormat().resolvedOptions().timeZone
const today = () => new Date().toISOString().slice(0, 10)

export function ScheduleForm({
  schedule,
  always,
  at = 'At these hours',
  change,
}: {
  readonly schedule: Schedule | undefined
  /** What none is called. */
  readonly always: string
  readonly at?: string
  readonly change: (schedule: Schedule | undefined) => void
}) {
  const name = useId()
  // Somebody who tries "Always" gets his hours back.
  const [before, setBefore] = useState<Schedule | undefined>(schedule)
  useEffect(() => {
    if (schedule) setBefore(schedule)
  }, [schedule])
  return (
    <div class="schedule">
      <fieldset class="choices choices-row">
        <legend class="visually-hidden">When</legend>
        <label>
          <input
            type="radio"
            name={name}
            checked={schedule === undefined}
            onChange={() => change(undefined)}
          />
          {always}
        </label>
        <label>
          <input
            type="radio"
            name={name}
            checked={schedule !== undefined}
            onChange={() => change(before ?? { timeZone: here(), hours: [OFFICE], exceptions: [] })}
          />
          {at}
        </label>
      </fieldset>
      {schedule && <Times schedule={schedule} change={change} />}
    </div>
  )
}

function Times({
  schedule,
  change,
}: {
  readonly schedule: Schedule
  readonly change: (schedule: Schedule) => void
}) {
  const set = (part: Partial<Schedule>) => change({ ...schedule, ...part })
  const week = weekOf(schedule.hours)
  const atMs = Math.floor(nowMs.value / STEP_MS) * STEP_MS
  const zoneIsKnown = isTimeZone(schedule.timeZone)
  const changesMs = zoneIsKnown ? nextChange(schedule, atMs) : undefined
  return (
    <>
      <ScheduleGrid week={week} change={(next) => set({ hours: hoursOf(next) })} />
      {schedule.hours.length === 0 && (
        <p class="note">No hour is chosen, which means every hour. Paint some, or type them.</p>
      )}
      <HoursList hours={schedule.hours} change={(hours) => set({ hours })} />
      <TimeZone value={schedule.timeZone} isKnown={zoneIsKnown} change={(timeZone) => set({ timeZone })} />
      <Exceptions schedule={schedule} change={(exceptions) => set({ exceptions })} />
      {zoneIsKnown && (
        <p class="muted" role="status">
          {isActive(schedule, atMs) ? 'So it holds now' : 'So it does not hold now'}
          {changesMs !== undefined &&
            `; ${isActive(schedule, atMs) ? 'until' : 'next from'} ${weekdayAndClock(changesMs)} (your time)`}
          .
        </p>
      )}
    </>
  )
}

function HoursList({
  hours,
  change,
}: {
  readonly hours: readonly Hours[]
  readonly change: (hours: Hours[]) => void
}) {
  return (
    <details class="details">
      <summary>
        {hours.length === 0 ? 'Type the hours' : `${hours.map(hoursWords).join('; ')} – type the hours`}
      </summary>
      <ul class="hours-list">
        {hours.map((one, index) => (
          <li key={index} class="hours">
            <fieldset class="days">
              <legend class="visually-hidden">Days</legend>
              {DAYS.map((day) => (
                <button
                  key={day}
                  type="button"
                  class="day"
                  aria-pressed={one.days.includes(day)}
                  aria-label={DAY_WORDS[day]}
                  onClick={() => {
                    const days = DAYS.filter((it: Day) => one.days.includes(it) !== (it === day))
                    if (days.length > 0) change(hours.with(index, { ...one, days }))
                  }}
                >
                  {DAY_WORDS[day].slice(0, 2)}
                </button>
              ))}
            </fieldset>
            <Time label="From" value={one.from} set={(from) => change(hours.with(index, { ...one, from }))} />
            <Time label="To" value={one.to} set={(to) => change(hours.with(index, { ...one, to }))} />
            <button type="button" class="button" onClick={() => change(hours.toSpliced(index, 1))}>
              Remove<span class="visually-hidden"> {hoursWords(one)}</span>
            </button>
          </li>
        ))}
      </ul>
      <p>
        <button type="button" class="button" onClick={() => change([...hours, OFFICE])}>
          Add hours
        </button>
      </p>
      <p class="muted">Hours that end before they begin end on the next day: 22:00 to 06:00.</p>
    </details>
  )
}

function Time({
  label,
  value,
  set,
}: {
  readonly label: string
  readonly value: string
  readonly set: (value: string) => void
}) {
  const [typed, setTyped] = useState<string | undefined>(undefined)
  const isWrong = typed !== undefined && timeOf(typed) === undefined
  return (
    <label class="field field-time">
      <span>{label}</span>
      <input
        inputMode="numeric"
        maxLength={5}
        placeholder="07:30"
        value={typed ?? value}
        aria-invalid={isWrong}
        onInput={({ currentTarget: { value: text } }) => setTyped(text)}
        onBlur={() => {
          const time = typed === undefined ? undefined : timeOf(typed)
          if (time) set(time)
          setTyped(undefined)
        }}
        onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
      />
    </label>
  )
}

function isTimeZone(text: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: text })
    return true
  } catch {
    return false
  }
}

function TimeZone({
  value,
  isKnown,
  change,
}: {
  readonly value: string
  readonly isKnown: boolean
  readonly change: (value: string) => void
}) {
  const id = useId()
  return (
    <div class="field-narrow">
      <label class="field">
        <span>Time zone of the hours</span>
        <input
          list={id}
          maxLength={64}
          autocomplete="off"
          spellcheck={false}
          value={value}
          aria-invalid={!isKnown}
          onInput={({ currentTarget: { value: text } }) => change(text)}
        />
      </label>
      <datalist id={id}>
        {[...new Set([here(), 'UTC', ...Intl.supportedValuesOf('timeZone')])].map((zone) => (
          <option key={zone} value={zone} />
        ))}
      </datalist>
      {!isKnown && <p class="field-wrong">No time zone has this name. Such as Europe/Zurich or UTC.</p>}
    </div>
  )
}

type Exception = Schedule['exceptions'][number]

/** Of two dates. */
const later = (a: string, b: string) => (a.localeCompare(b) < 0 ? b : a)

function Exceptions({
  schedule: { exceptions },
  change,
}: {
  readonly schedule: Schedule
  readonly change: (exceptions: Exception[]) => void
}) {
  return (
    <div class="exceptions">
      {exceptions.length > 0 && (
        <ul class="hours-list" aria-label="Exceptions">
          {exceptions.map((one, index) => {
            const set = (part: Partial<Exception>) => change(exceptions.with(index, { ...one, ...part }))
            return (
              <li key={index} class="hours">
                <label class="field">
                  <span>From</span>
                  <input
                    type="date"
                    required
                    value={one.from}
                    onInput={({ currentTarget: { value } }) =>
                      value !== '' && set({ from: value, to: later(value, one.to) })
                    }
                  />
                </label>
                <label class="field">
                  <span>To, that day too</span>
                  <input
                    type="date"
                    required
                    min={one.from}
                    value={one.to}
                    onInput={({ currentTarget: { value } }) => value !== '' && set({ to: value })}
                  />
                </label>
                <label class="field">
                  <span>Then</span>
                  <select
                    value={one.is}
                    onChange={({ currentTarget: { value } }) => set({ is: value === 'on' ? 'on' : 'off' })}
                  >
                    <option value="off">off all day</option>
                    <option value="on">on all day</option>
                  </select>
                </label>
                <label class="field">
                  <span>Why</span>
                  <input
                    maxLength={100}
                    placeholder="Holidays"
                    value={one.name ?? ''}
                    onInput={({ currentTarget: { value } }) =>
                      set({ name: value === '' ? undefined : value })
                    }
                  />
                </label>
                <button type="button" class="button" onClick={() => change(exceptions.toSpliced(index, 1))}>
                  Remove<span class="visually-hidden"> the exception from {one.from}</span>
                </button>
              </li>
            )
          })}
        </ul>
      )}
      <p>
        <button
          type="button"
          class="button"
          onClick={() => change([...exceptions, { from: today(), to: today(), is: 'off' }])}
        >
          Add an exception
        </button>
      </p>
    </div>
  )
}
