import { useState } from 'preact/hooks'

/**
 * What a form was opened with, however the page has moved on since: a save of it names the revision that its writer has seen, and
 * is refused where somebody else was quicker.
 */
export function useAsOpened<T extends object>(value: T): T {
  return useState(() => value)[0]
}
