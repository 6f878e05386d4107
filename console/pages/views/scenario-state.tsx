import { nowMs } from '../now.ts'
import type { KeptScenario } from '../scenario-types.ts'
import { clock, weekdayAndClock } from '../words.ts'
import { isActive, nextChange } from './schedule-hours.ts'

const DAY_MS = 86_400_000
/** What a schedule says changes by the minute. */
const STEP_MS = 60_000

/** Draft, paused, or published; and then whether its schedule holds now. */
export function ScenarioIs({
  scenario: { state, document },
}: {
  readonly scenario: Pick<KeptScenario, 'state' | 'document'>
}) {
  if (state !== 'published')
    return (
      <span class="tone" data-tone={state === 'paused' ? 'late' : 'quiet'}>
        <span class="dot" />
        {state === 'paused' ? 'Paused' : 'Draft'}
      </span>
    )
  const atMs = Math.floor(nowMs.value / STEP_MS) * STEP_MS
  const isOn = isActive(document.schedule, atMs)
  const changesMs = nextChange(document.schedule, atMs)
  return (
    <span class="tone" data-tone={isOn ? 'good' : 'quiet'}>
      <span class="dot" />
      {isOn ? 'Active now' : 'Published, not active now'}
      {changesMs !== undefined && `, ${isOn ? 'until' : 'next'} ${timeWords(changesMs, atMs)}`}
    </span>
  )
}

const timeWords = (atMs: number, nowMs: number) =>
  atMs - nowMs < DAY_MS ? clock(atMs) : weekdayAndClock(atMs)
