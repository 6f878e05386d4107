import { useEffect, useRef } from 'preact/hooks'
import { nowMs } from '../now.ts'
import { ago, exact } from '../words.ts'
import { say } from './said.tsx'

/** As long as phones take for a long press. */
const PRESS_MS = 500

/** A moment as its age; the exact time on hover, on a long press, and for screen readers that ask for it. */
export function When({ atMs }: { readonly atMs: number }) {
  const pressed = useRef<ReturnType<typeof setTimeout>>(undefined)
  const release = () => clearTimeout(pressed.current)
  useEffect(() => release, [])
  return (
    <time
      class="when"
      dateTime={new Date(atMs).toISOString()}
      title={exact(atMs)}
      onTouchStart={() => {
        pressed.current = setTimeout(() => say(exact(atMs)), PRESS_MS)
      }}
      onTouchEnd={release}
      onTouchMove={release}
    >
      {ago(atMs, nowMs.value)}
    </time>
  )
}
