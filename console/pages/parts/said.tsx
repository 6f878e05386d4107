import { signal } from '@preact/signals'

/** What has just been done, in a sentence, for eyes and for screen readers. One at a time, the newest. */
interface Saying {
  readonly text: string
  readonly isError: boolean
  readonly number: number
}

const SHOWN_MS = 6000

const saying = signal<Saying | undefined>(undefined)
const quiet = signal('')
let sayings = 0

export function say(text: string, { isError = false } = {}): void {
  sayings += 1
  const number = sayings
  saying.value = { text, isError, number }
  setTimeout(() => {
    if (saying.value?.number === number) saying.value = undefined
  }, SHOWN_MS)
}

/** For screen readers alone. */
export function murmur(text: string): void {
  quiet.value = text
}

export function Said() {
  const current = saying.value
  return (
    <>
      <div class="said" role="status" aria-live="polite">
        {current && (
          <p key={current.number} class={`said-text${current.isError ? ' said-error' : ''}`}>
            {current.text}
          </p>
        )}
      </div>
      <div class="visually-hidden" role="status" aria-live="polite">
        {quiet.value}
      </div>
    </>
  )
}
