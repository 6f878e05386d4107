import { signal } from '@preact/signals'

/** Where the reader is: the address bar, followed and changed without loading the page anew. */
export interface Place {
  readonly path: string
  readonly query: URLSearchParams
}

const here = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) })

export const place = signal<Place>(here())
/** Counts moves to another page, so that focus and scrolling follow those and not each change of a filter. */
export const moves = signal(0)

/** Asked before the reader goes to another page; false holds him back. */
let asked: ((href: string) => boolean) | undefined

/** For a page with something that is not saved. @returns ends it */
export function holdBack(may: (href: string) => boolean): () => void {
  asked = may
  return () => {
    if (asked === may) asked = undefined
  }
}

/** By entry of the history: where the reader had scrolled to. */
const scrolled = new Map<number, number>()
let entry = readEntry()

export function startRouter(): void {
  history.scrollRestoration = 'manual'
  history.replaceState({ entry }, '')
  addEventListener('popstate', () => {
    const { path, query } = place.peek()
    if (path !== location.pathname && asked?.(location.pathname + location.search) === false) {
      history.pushState({ entry }, '', path + (query.size > 0 ? `?${query}` : ''))
      return
    }
    scrolled.set(entry, scrollY)
    entry = readEntry()
    arrive(scrolled.get(entry) ?? 0)
  })
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = (event.target as Element | null)?.closest('a')
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return
    if (!isPage(link.pathname)) return
    // To a place on this page: the browser's own business.
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return
    event.preventDefault()
    go(link.pathname + link.search + link.hash)
  })
}

/** To another page, or with `replace` the same one asked differently, in place of this entry of the history. */
export function go(href: string, { replace = false } = {}): void {
  if (replace) {
    history.replaceState({ entry }, '', href)
    place.value = here()
    return
  }
  if (asked?.(href) === false) return
  scrolled.set(entry, scrollY)
  entry += 1
  history.pushState({ entry }, '', href)
  arrive(0)
}

/** Changes the query alone; what is undefined or empty leaves it. */
export function ask(changes: Readonly<Record<string, string | undefined>>): void {
  const query = new URLSearchParams(location.search)
  for (const [name, value] of Object.entries(changes))
    if (value === undefined || value === '') query.delete(name)
    else query.set(name, value)
  const text = query.toString()
  go(location.pathname + (text ? `?${text}` : ''), { replace: true })
}

function arrive(top: number): void {
  const isOther = place.value.path !== location.pathname
  place.value = here()
  if (isOther) moves.value += 1
  // After the page has drawn what it has at once.
  requestAnimationFrame(() => requestAnimationFrame(() => scrollTo(0, top)))
}

function readEntry(): number {
  const state: unknown = history.state
  return typeof state === 'object' && state !== null && 'entry' in state && typeof state.entry === 'number'
    ? state.entry
    : 0
}

const FIRST = new Set([
  '',
  'faces',
  'cameras',
  'recordings',
  'streams',
  'scenarios',
  'publish',
  'charts',
  'notices',
  'channels',
  'devices',
  'flow',
  'health',
  'people',
  'api',
])

/** Addresses that this page draws; the API, sign-in and pictures are the server's. */
const isPage = (path: string) => FIRST.has(path.split('/')[1] ?? '') && !path.startsWith('/api/')
