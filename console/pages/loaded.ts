import { useEffect, useRef, useState } from 'preact/hooks'

/** Something that is fetched: what came last, and how it stands. */
export interface Loaded<T> {
  readonly value: T | undefined
  readonly error: unknown
  readonly isLoading: boolean
  /** Fetches again; what is shown stays until the answer is there. */
  again(): void
}

/**
 * @param key another key is another thing: what was shown of the old one goes
 * @param load its signal fires when nobody waits for it any more
 */
export function useLoaded<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, set] = useState<{ key: string; value?: T; error?: unknown; isLoading: boolean }>({
    key,
    isLoading: true,
  })
  const [round, setRound] = useState(0)
  const loading = useRef(load)
  loading.current = load
  // A round is another try of the same.
  useEffect(() => {
    const controller = new AbortController()
    set((old) => (old.key === key ? { ...old, isLoading: true } : { key, isLoading: true }))
    loading.current(controller.signal).then(
      (value) => {
        if (!controller.signal.aborted) set({ key, value, isLoading: false })
      },
      (error: unknown) => {
        if (!controller.signal.aborted)
          set((old) => ({ key, value: old.key === key ? old.value : undefined, error, isLoading: false }))
      },
    )
    return () => controller.abort()
  }, [key, round])
  const current = state.key === key ? state : { isLoading: true, value: undefined, error: undefined }
  return {
    value: current.value,
    error: current.error,
    isLoading: current.isLoading,
    again: () => setRound((count) => count + 1),
  }
}

/** Calls `then` every `everyMs` while the page is seen. */
export function useEvery(everyMs: number, then: () => void): void {
  const call = useRef(then)
  call.current = then
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) call.current()
    }, everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
}
