import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { Dialog } from './dialog.tsx'
import { Failed } from './states.tsx'

/** A dialog that asks for something and does it. It works until who opened it closes it, or says what failed and stays. */
export function DialogForm({
  title,
  wide = false,
  submit,
  isReady = true,
  act,
  onClose,
  children,
}: {
  readonly title: string
  readonly wide?: boolean
  /** On the button. */
  readonly submit: string
  /** False: nothing is done, since what stands in it says why not. */
  readonly isReady?: boolean
  readonly act: () => Promise<void>
  readonly onClose: () => void
  readonly children: ComponentChildren
}) {
  const [error, setError] = useState<unknown>(undefined)
  const [isWorking, setWorking] = useState(false)
  async function send(): Promise<void> {
    setWorking(true)
    setError(undefined)
    try {
      await act()
    } catch (problem) {
      setError(problem)
      setWorking(false)
    }
  }
  return (
    <Dialog title={title} wide={wide} onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          if (isReady) void send()
        }}
      >
        {children}
        {error !== undefined && <Failed error={error} />}
        <p class="buttons">
          <button type="submit" class="button button-strong" disabled={isWorking}>
            {submit}
          </button>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
        </p>
      </form>
    </Dialog>
  )
}
