import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { Dialog } from './dialog.tsx'
import { Failed } from './states.tsx'

/** Asks before something that cannot be undone, does it, and says what went wrong. */
export function Confirm({
  title,
  act,
  word,
  children,
  onClose,
}: {
  readonly title: string
  /** What the button says. */
  readonly word: string
  readonly act: () => Promise<void>
  readonly children: ComponentChildren
  readonly onClose: () => void
}) {
  const [isWorking, setWorking] = useState(false)
  const [error, setError] = useState<unknown>(undefined)
  async function go(): Promise<void> {
    setWorking(true)
    setError(undefined)
    try {
      await act()
      onClose()
    } catch (problem) {
      setError(problem)
      setWorking(false)
    }
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{children}</p>
      {error !== undefined && <Failed error={error} />}
      <p class="buttons">
        <button
          type="button"
          class="button button-danger-strong"
          disabled={isWorking}
          onClick={() => void go()}
        >
          {word}
        </button>
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
      </p>
    </Dialog>
  )
}
