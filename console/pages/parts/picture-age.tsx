import { nowMs } from '../now.ts'
import { duration, exact } from '../words.ts'

/** From here on a picture that should move stands still. */
export const FROZEN_MS_MIN = 5000
/** From here on a single picture is an old one. */
const OLD_MS_MIN = 60_000

/** How old what is seen is, in plain sight: a picture that stands still looks like one of a quiet room. */
export function PictureAge({
  atMs,
  isLive,
  isPaused = false,
}: {
  readonly atMs: number | undefined
  readonly isLive: boolean
  readonly isPaused?: boolean
}) {
  if (atMs === undefined) return <span class="age">{isPaused ? 'Paused' : 'No picture yet'}</span>
  const age = Math.max(0, nowMs.value - atMs)
  const isStale = age >= (isLive ? FROZEN_MS_MIN : OLD_MS_MIN)
  return (
    <span class="age" data-is={isStale ? 'frozen' : isLive ? 'live' : 'still'} title={exact(atMs)}>
      {isStale ? (
        isLive ? (
          `Frozen for ${duration(age)}`
        ) : (
          `${duration(age)} old`
        )
      ) : isLive ? (
        <>
          <span class="dot" />
          Live
        </>
      ) : age < 2000 ? (
        'Now'
      ) : (
        `${duration(age)} old`
      )}
    </span>
  )
}
