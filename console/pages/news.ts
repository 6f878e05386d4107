import { signal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import type { EventData, EventName } from '../api/events.ts'
import { findOut } from './session.ts'

/**
 * What has just happened, from the server's event stream. One connection for all of the pages; the browser resumes it with
 * the last id, and `reset` says that something was missed and has to be fetched anew.
 */

export type Standing = 'connecting' | 'following' | 'lost'
export const standing = signal<Standing>('connecting')

const NAMES = [
  'detection',
  'removed',
  'camera',
  'keeper',
  'health',
  'notice',
  'device',
  'reset',
] as const satisfies EventName[]
/** A browser gives up after some answers (such as 503): then we try anew. */
const AGAIN_MS = 5000

const listeners: { [Name in EventName]: Set<(data: EventData<Name>) => void> } = {
  detection: new Set(),
  removed: new Set(),
  camera: new Set(),
  keeper: new Set(),
  health: new Set(),
  notice: new Set(),
  device: new Set(),
  reset: new Set(),
}

/** @returns ends it */
export function follow<Name extends EventName>(
  name: Name,
  listener: (data: EventData<Name>) => void,
): () => void {
  listeners[name].add(listener)
  return () => listeners[name].delete(listener)
}

let lastId = ''

export function startNews(): void {
  const source = new EventSource(`/api/v1/events${lastId ? `?after=${encodeURIComponent(lastId)}` : ''}`)
  source.onopen = () => {
    standing.value = 'following'
  }
  source.onerror = () => {
    standing.value = 'lost'
    if (source.readyState !== EventSource.CLOSED) return
    // It was refused: perhaps nobody is signed in any more, which leads to the sign-in page.
    findOut().catch(() => undefined)
    setTimeout(startNews, AGAIN_MS)
  }
  for (const name of NAMES) listen(source, name)
}

function listen<Name extends EventName>(source: EventSource, name: Name): void {
  source.addEventListener(name, (event) => {
    if (event.lastEventId) lastId = event.lastEventId
    const data = JSON.parse(event.data) as EventData<Name>
    for (const listener of listeners[name]) listener(data)
  })
}

/** Follows as long as the component is drawn. */
export function useNews<Name extends EventName>(name: Name, listener: (data: EventData<Name>) => void): void {
  const call = useRef(listener)
  call.current = listener
  useEffect(() => follow(name, (data) => call.current(data)), [name])
}
