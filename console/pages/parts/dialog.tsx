import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'

/** The browser's own modal dialog: it keeps the focus inside, Escape closes it, and the focus goes back where it was. */
export function Dialog({
  title,
  wide = false,
  side = false,
  onClose,
  children,
}: {
  readonly title: string
  readonly wide?: boolean
  /** Stands at the window's side instead of its middle. */
  readonly side?: boolean
  readonly onClose: () => void
  readonly children: ComponentChildren
}) {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  const isGone = useRef(false)
  useEffect(() => {
    const before = document.activeElement
    const dialog = element.current
    dialog?.showModal()
    return () => {
      isGone.current = true
      dialog?.close()
      if (before instanceof HTMLElement || before instanceof SVGElement) before.focus({ preventScroll: true })
    }
  }, [])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes it
    <dialog
      ref={element}
      class={`dialog${wide ? ' dialog-wide' : ''}${side ? ' dialog-side' : ''}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
      // A browser may close it without asking.
      onClose={() => {
        if (!isGone.current) onClose()
      }}
      onClick={(event) => {
        if (event.target === element.current) onClose()
      }}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={id}>{title}</h2>
          <button type="button" class="icon-button" onClick={onClose} aria-label="Close">
            <Cross />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  )
}

const Cross = () => (
  <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
    <path d="M3 3l10 10M13 3L3 13" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
  </svg>
)
