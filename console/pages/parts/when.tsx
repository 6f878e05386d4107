import { nowMs } from '../now.ts'
import { ago, exact } from '../words.ts'

/** A moment as its age; the exact time on hover, on a long press, and for screen readers that ask for it. */
export function When({ atMs }: { readonly atMs: number }) {
  return (
    <time class="when" dateTime={new Date(atMs).toISOString()} title={exact(atMs)}>
      {ago(atMs, nowMs.value)}
    </time>
  )
}
