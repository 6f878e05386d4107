import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Detection } from '../../api/detections.ts'
import * as api from '../api.ts'
import { useNews } from '../news.ts'
import { FaceTile } from '../parts/face-tile.tsx'
import { icons } from '../parts/icons.tsx'
import { KeysHelp } from '../parts/keys-help.tsx'
import { murmur, say } from '../parts/said.tsx'
import { withoutSuperseded } from '../parts/shots.ts'
import { Empty, Failed, Waiting } from '../parts/states.tsx'
import { go, place } from '../router.ts'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { count, date, day } from '../words.ts'
import { asQuery, type Filter, isEmpty, readFilter, takes } from './faces-filter.ts'
import { FilterForm } from './faces-filter-form.tsx'
import { ShareDialog } from './share-dialog.tsx'

await style('faces.css')

/** The newest faces as a grid that lives; searched by what stands in the address bar; reviewed by keyboard. */

const PAGE_COUNT = 40
/** So many stay in the page; what is older gets a page of its own. */
const SHOWN_MAX = 1200
/** New ones wait while somebody looks further down; beyond this the page is fetched anew. */
const HELD_MAX = 300
/** New ones are shown together, so often; many of them stay for a while, so that they can be looked at. */
const GATHER_MS = 400
const LOOK_MS_A_FACE = 120
const LOOK_MS_MAX = 4_000
const AT_TOP_PX = 120

const KEYS = [
  ['j / k', 'next, previous face'],
  ['x', 'select it, or not'],
  ['r', 'mark as reviewed: those selected, or this one'],
  ['u', 'mark as not reviewed'],
  ['a', 'select all that are shown'],
  ['o or Enter', 'open it'],
  ['/', 'to the filters'],
  ['Esc', 'select none'],
  ['?', 'this help'],
] as const

export default function FacesPage() {
  const { query } = place.value
  const filter = useMemo(() => readFilter(query), [query])
  return <Faces key={JSON.stringify(filter)} filter={filter} />
}

interface Listing {
  readonly faces: readonly Detection[]
  readonly next: string | null
  /** Where a long search stopped: there is more before it. */
  readonly searchedToMs: number | null
}

function Faces({ filter }: { readonly filter: Filter }) {
  const [listing, setListing] = useState<Listing | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const [isLoading, setLoading] = useState(false)
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set())
  const [held, setHeld] = useState<readonly Detection[]>([])
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set())
  // Keys may come faster than the page is drawn: the second of two knows what the first has done.
  const chosen = useRef(selected)
  const choose = (ids: Iterable<string>) => {
    chosen.current = new Set(ids)
    setSelected(chosen.current)
  }
  const [isHelped, setHelped] = useState(false)
  const [isShared, setShared] = useState(false)
  const grid = useRef<HTMLDivElement>(null)
  const gone = useRef(new AbortController())
  useEffect(() => () => gone.current.abort(), [])

  const load = useCallback(
    async (cursor?: string) => {
      setLoading(true)
      setError(undefined)
      try {
        const page = await api.detections(
          { ...asQuery(filter), limit: String(PAGE_COUNT), cursor },
          gone.current.signal,
        )
        setListing((old) => ({
          faces: cursor === undefined ? page.items : distinct([...(old?.faces ?? []), ...page.items]),
          next: page.next,
          searchedToMs: page.searchedToMs,
        }))
        if (cursor === undefined) setHeld([])
      } catch (problem) {
        if (!gone.current.signal.aborted) setError(problem)
      }
      setLoading(false)
    },
    [filter],
  )
  useEffect(() => void load(), [load])
  useNews('reset', () => void load())

  // What comes is gathered; at the top it is shown at once, further down nothing may move under the reader's eyes.
  const gathered = useRef<Detection[]>([])
  useNews('detection', (face) => {
    if (takes(filter, face)) gathered.current.push(face)
  })
  const isBusy = selected.size > 0
  const shownUntil = useRef(0)
  useEffect(() => {
    const timer = setInterval(() => {
      if (performance.now() < shownUntil.current) return
      const came = gathered.current.splice(0)
      if (came.length === 0) return
      shownUntil.current = performance.now() + Math.min(came.length * LOOK_MS_A_FACE, LOOK_MS_MAX)
      const isAtTop = scrollY < AT_TOP_PX && !isBusy && !grid.current?.contains(document.activeElement)
      if (isAtTop) show(came.reverse())
      else setHeld((old) => [...came.reverse(), ...old].slice(0, HELD_MAX + 1))
    }, GATHER_MS)
    return () => clearInterval(timer)
  })
  function show(came: readonly Detection[]): void {
    setFresh(new Set(came.map(({ id }) => id)))
    setListing((old) => old && { ...old, faces: distinct([...came, ...old.faces]).slice(0, SHOWN_MAX) })
  }
  function showHeld(): void {
    if (held.length > HELD_MAX) void load()
    else show(held)
    setHeld([])
    scrollTo({ top: 0 })
  }
  useNews('removed', ({ id }) =>
    setListing((old) => old && { ...old, faces: old.faces.filter((face) => face.id !== id) }),
  )

  const faces = listing?.faces ?? []
  const select = (id: string) => {
    const next = new Set(chosen.current)
    if (!next.delete(id)) next.add(id)
    choose(next)
    murmur(`${count(next.size, 'face')} selected`)
  }

  async function mark(reviewed: boolean): Promise<void> {
    const here = (document.activeElement as HTMLElement | null)?.dataset.id
    const ids = chosen.current.size > 0 ? [...chosen.current] : here ? [here] : []
    if (ids.length === 0) return say('Select faces with x first, or go to one with j.')
    try {
      const { changed } = await api.review({ ids, reviewed })
      const of = new Set(ids)
      setListing(
        (old) =>
          old && { ...old, faces: old.faces.map((face) => (of.has(face.id) ? { ...face, reviewed } : face)) },
      )
      choose([])
      say(`${count(changed, 'face')} marked as ${reviewed ? 'reviewed' : 'not reviewed'}.`)
    } catch (problem) {
      say(problem instanceof api.Problem ? problem.detail : String(problem), { isError: true })
    }
  }

  function step(by: 1 | -1): void {
    const links = [...(grid.current?.querySelectorAll<HTMLElement>('a.face') ?? [])]
    const at = links.indexOf(document.activeElement as HTMLElement)
    const next = links[at === -1 ? (by === 1 ? 0 : links.length - 1) : at + by]
    next?.focus({ preventScroll: true })
    next?.scrollIntoView({ block: 'nearest' })
    if (next && at + by > links.length - 12 && listing?.next) void more()
  }

  const more = async () => {
    if (!isLoading && listing?.next && faces.length < SHOWN_MAX) await load(listing.next)
  }

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target)) return
      if (document.querySelector('dialog[open]')) return
      const act = ACTS[event.key]
      if (!act) return
      event.preventDefault()
      act()
    }
    const here = () => (document.activeElement as HTMLElement | null)?.dataset.id
    const ACTS: Readonly<Record<string, () => void>> = {
      j: () => step(1),
      k: () => step(-1),
      x: () => {
        const id = here()
        if (id) select(id)
      },
      r: () => void (may('review') && mark(true)),
      u: () => void (may('review') && mark(false)),
      a: () => choose(faces.map(({ id }) => id)),
      o: () => {
        const id = here()
        if (id) go(`/faces/${id}`)
      },
      '/': () => document.querySelector<HTMLElement>('.filters select, .filters input')?.focus(),
      Escape: () => choose([]),
      '?': () => setHelped(true),
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  })

  return (
    <div class="page">
      <header class="page-head">
        <h1>Faces</h1>
        <div class="page-acts">
          {may('share') && !isEmpty(filter) && (
            <button type="button" class="button" onClick={() => setShared(true)}>
              Share this search
            </button>
          )}
          {may('export') && (
            <>
              <a class="button" href={api.exportAddress('csv', asQuery(filter))} download="faces.csv">
                Export CSV
              </a>
              <a class="button" href={api.exportAddress('ndjson', asQuery(filter))} download="faces.ndjson">
                JSON
              </a>
            </>
          )}
          <button type="button" class="button keys-button" onClick={() => setHelped(true)}>
            Keys <kbd>?</kbd>
          </button>
        </div>
      </header>
      <FilterForm filter={filter} />
      {held.length > 0 && (
        <button type="button" class="held" onClick={showHeld}>
          {held.length > HELD_MAX ? `More than ${HELD_MAX} new faces` : count(held.length, 'new face')}: show
        </button>
      )}
      {error !== undefined && <Failed error={error} again={() => void load()} />}
      <div ref={grid} class="faces" data-selecting={isBusy ? '' : undefined}>
        {listing === undefined && error === undefined && <Waiting shape="tile" rows={18} />}
        {byDay(faces).map(([title, ofDay]) => (
          <section key={title} class="faces-day" aria-label={title}>
            <h2>{title}</h2>
            <ul class="grid">
              {ofDay.map((face) => (
                <li
                  key={face.id}
                  class="faces-item"
                  data-reviewed={face.reviewed ? '' : undefined}
                  data-selected={selected.has(face.id) ? '' : undefined}
                >
                  <FaceTile face={face} isNew={fresh.has(face.id)} />
                  {face.reviewed && <span class="faces-mark">{icons.check()}</span>}
                  <input
                    type="checkbox"
                    class="faces-select"
                    tabIndex={-1}
                    checked={selected.has(face.id)}
                    aria-label={`Select the face at ${face.camera}`}
                    onChange={() => select(face.id)}
                  />
                </li>
              ))}
            </ul>
          </section>
        ))}
      </div>
      {listing && faces.length === 0 && listing.next === null && <None filter={filter} />}
      {listing && <End listing={listing} isLoading={isLoading} more={more} filter={filter} />}
      {selected.size > 0 && (
        <div class="bulk" role="toolbar" aria-label="Selected faces">
          <strong>{count(selected.size, 'face')} selected</strong>
          {may('review') && (
            <>
              <button type="button" class="button button-strong" onClick={() => void mark(true)}>
                Reviewed <kbd>r</kbd>
              </button>
              <button type="button" class="button" onClick={() => void mark(false)}>
                Not reviewed <kbd>u</kbd>
              </button>
            </>
          )}
          <button type="button" class="button" onClick={() => choose([])}>
            Select none <kbd>Esc</kbd>
          </button>
        </div>
      )}
      {isHelped && <KeysHelp keys={KEYS} onClose={() => setHelped(false)} />}
      {isShared && <ShareDialog of={{ filter: asQuery(filter) }} onClose={() => setShared(false)} />}
    </div>
  )
}

function End({
  listing: { faces, next, searchedToMs },
  isLoading,
  more,
  filter,
}: {
  readonly listing: Listing
  readonly isLoading: boolean
  readonly more: () => Promise<void>
  readonly filter: Filter
}) {
  const mark = useRef<HTMLDivElement>(null)
  const isFull = faces.length >= SHOWN_MAX
  // A rare thing is looked for on demand only: each look back costs the database its time.
  const isAutomatic = next !== null && searchedToMs === null && !isFull
  useEffect(() => {
    if (!isAutomatic || !mark.current) return
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some(({ isIntersecting }) => isIntersecting)) void more()
      },
      { rootMargin: '400px' },
    )
    observer.observe(mark.current)
    return () => observer.disconnect()
  })
  const last = faces.at(-1)
  if (next === null)
    return faces.length > 12 ? <p class="end muted">That is all: {count(faces.length, 'face')}.</p> : null
  if (isFull && last)
    return (
      <p class="end">
        <a class="button" href={`/faces${api.queryText({ ...filter, to: String(last.atMs + 1) })}`}>
          Show older faces
        </a>
      </p>
    )
  return (
    <div ref={mark} class="end">
      {searchedToMs !== null && (
        <p>
          {faces.length === 0 ? 'Nothing found so far. ' : ''}Searched back to {date(searchedToMs)}.
        </p>
      )}
      <button type="button" class="button" disabled={isLoading} onClick={() => void more()}>
        {isLoading ? 'Searching …' : searchedToMs === null ? 'Show more' : 'Search further back'}
      </button>
    </div>
  )
}

function None({ filter }: { readonly filter: Filter }) {
  if (isEmpty(filter))
    return (
      <Empty title="No faces yet.">
        A face appears here about a second after a camera has seen it.{' '}
        <a href="/cameras">Look at the cameras</a>
      </Empty>
    )
  return (
    <Empty title="No faces match.">
      Remove a filter, or <a href="/faces">show all faces</a>.
    </Empty>
  )
}

function byDay(faces: readonly Detection[]): readonly (readonly [string, readonly Detection[]])[] {
  const days: [string, Detection[]][] = []
  for (const face of faces) {
    const title = day(face.atMs)
    const last = days.at(-1)
    if (last?.[0] === title) last[1].push(face)
    else {
      const same = days.find(([name]) => name === title)
      if (same) same[1].push(face)
      else days.push([title, [face]])
    }
  }
  return days
}

function distinct(faces: readonly Detection[]): readonly Detection[] {
  const seen = new Set<string>()
  return withoutSuperseded(faces.filter(({ id }) => !seen.has(id) && seen.add(id)))
}

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.matches('input:not([type=checkbox]), select, textarea') || target.isContentEditable)
