import type { HealthEvent } from '../../api/health-events.ts'

const WORDS = { problem: 'Problem', warning: 'Warning', info: 'Note' } as const
const TONES = { problem: 'bad', warning: 'late', info: 'quiet' } as const

/** How bad it is; over is over. */
export function Level({ event: { level, endedAtMs } }: { readonly event: HealthEvent }) {
  return (
    <span class="tone" data-tone={endedAtMs === null ? TONES[level] : 'quiet'}>
      <span class="dot" />
      {endedAtMs === null ? WORDS[level] : 'Over'}
    </span>
  )
}
