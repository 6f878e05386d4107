import type { ComponentChildren } from 'preact'
import { Problem } from '../api.ts'
import type { Loaded } from '../loaded.ts'

/** What stands where nothing is, or nothing yet, or nothing could be had. */

export function Empty({
  title,
  children,
}: {
  readonly title: string
  readonly children?: ComponentChildren
}) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div class="empty-text">{children}</div>}
    </div>
  )
}

export function Failed({ error, again }: { readonly error: unknown; readonly again?: () => void }) {
  const problem = error instanceof Problem ? error : undefined
  return (
    <div class="failed" role="alert">
      <p class="empty-title">{problem?.title ?? 'This could not be shown.'}</p>
      <p class="empty-text">
        {problem?.detail ?? (error instanceof Error ? error.message : String(error))}
        {problem?.code && <code class="code">{problem.code}</code>}
      </p>
      {again && (
        <button type="button" class="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  )
}

/** Grey shapes of what will be there, so that nothing jumps when it comes. */
export function Waiting({
  rows = 3,
  shape = 'row',
}: {
  readonly rows?: number
  readonly shape?: 'row' | 'tile' | 'block'
}) {
  return (
    <div class={`waiting waiting-${shape}`} aria-busy="true">
      <span class="visually-hidden">Loading</span>
      {Array.from({ length: rows }, (_, index) => (
        <span key={index} class="bone" />
      ))}
    </div>
  )
}

/** One of the three above, or what came. An error beside something that is shown already stands above it. */
export function Shown<T>({
  of,
  waiting,
  children,
}: {
  readonly of: Loaded<T>
  readonly waiting?: ComponentChildren
  readonly children: (value: T) => ComponentChildren
}) {
  if (of.value === undefined)
    return of.error === undefined ? (waiting ?? <Waiting />) : <Failed error={of.error} again={of.again} />
  return (
    <>
      {of.error !== undefined && <Failed error={of.error} again={of.again} />}
      {children(of.value)}
    </>
  )
}
