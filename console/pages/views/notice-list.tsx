import { useEffect, useRef, useState } from 'preact/hooks'
import { useEvery } from '../loaded.ts'
import { useNews } from '../news.ts'
import type { Notice, NoticesQuery } from '../notice-types.ts'
import * as api from '../notices.ts'
import { DeliveriesAre } from '../parts/delivery-state.tsx'
import { NoticeLevel } from '../parts/notice-level.tsx'
import { Empty, Failed, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { ask, place } from '../router.ts'
import { may } from '../session.ts'
import { day } from '../words.ts'
import { Choice, NoticeFilter, useScenarios } from './notice-filter.tsx'

const PAGE_COUNT = 30
/** News of many notices at once are one look. */
const GATHER_MS = 400
/** Deliveries that wait are looked after so often. */
const REFRESH_MS = 5000

const LEVELS = [
  ['problem', 'Problems'],
  ['warning', 'Warnings'],
  ['info', 'Notes'],
] as const
const STATES = [
  ['waiting', 'Waiting'],
  ['given up', 'Given up'],
  ['not sent', 'Not sent'],
  ['sent', 'Sent'],
] as const

export function NoticeList() {
  const { query } = place.value
  const filter = {
    scenario: query.get('scenario') ?? undefined,
    camera: query.get('camera') ?? undefined,
    level: query.get('level') ?? undefined,
    state: query.get('state') ?? undefined,
  }
  return <List key={JSON.stringify(filter)} filter={filter} />
}

function List({ filter }: { readonly filter: NoticesQuery }) {
  const [items, setItems] = useState<readonly Notice[] | undefined>(undefined)
  const [next, setNext] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(undefined)
  const [isLoading, setLoading] = useState(false)
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set())
  const gone = useRef(new AbortController())
  useEffect(() => () => gone.current.abort(), [])
  const { names } = useScenarios(
    new Map((items ?? []).map(({ scenario }) => [scenario.id, scenario.name] as const)),
  )

  async function load(): Promise<void> {
    try {
      const page = await api.notices({ ...filter, limit: String(PAGE_COUNT) }, gone.current.signal)
      if (gone.current.signal.aborted) return
      setError(undefined)
      setItems((old) => {
        if (!old) {
          setNext(page.next)
          return page.items
        }
        const known = new Set(old.map(({ id }) => id))
        setFresh(new Set(page.items.map(({ id }) => id).filter((id) => !known.has(id))))
        return together(page.items, old, page.next === null)
      })
    } catch (problem) {
      if (!gone.current.signal.aborted) setError(problem)
    }
  }
  useEffect(() => void load(), [])
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => () => clearTimeout(timer.current), [])
  useNews('notice', () => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => void load(), GATHER_MS)
  })
  useNews('reset', () => void load())
  useEvery(REFRESH_MS, () => {
    if (items?.some(({ deliveries }) => deliveries.some(({ state }) => state === 'waiting'))) void load()
  })

  async function more(): Promise<void> {
    if (next === null) return
    setLoading(true)
    try {
      const page = await api.notices({ ...filter, limit: String(PAGE_COUNT), before: next })
      setItems((old) => together(old ?? [], page.items, false))
      setNext(page.next)
    } catch (problem) {
      setError(problem)
    }
    setLoading(false)
  }

  const isFiltered = Object.values(filter).some((value) => value !== undefined)
  return (
    <>
      <NoticeFilter scenarios={names}>
        <Choice
          label="Level"
          value={filter.level ?? ''}
          options={LEVELS}
          all="All levels"
          choose={(level) => ask({ level })}
        />
        <Choice
          label="Delivery"
          value={filter.state ?? ''}
          options={STATES}
          all="However it stands"
          choose={(state) => ask({ state })}
        />
      </NoticeFilter>
      {error !== undefined && <Failed error={error} again={() => void load()} />}
      {items === undefined && error === undefined && <Waiting rows={6} />}
      {items?.length === 0 && <None isFiltered={isFiltered} />}
      {byDay(items ?? []).map(([title, ofDay]) => (
        <section key={title} aria-label={title}>
          <h2 class="notices-day">{title}</h2>
          <ol class="notices">
            {ofDay.map((notice) => (
              <li key={notice.id}>
                <NoticeRow notice={notice} isNew={fresh.has(notice.id)} />
              </li>
            ))}
          </ol>
        </section>
      ))}
      {next !== null && (
        <p class="end">
          <button type="button" class="button" disabled={isLoading} onClick={() => void more()}>
            {isLoading ? 'Loading …' : 'Show older notices'}
          </button>
        </p>
      )}
    </>
  )
}

export function NoticeRow({ notice, isNew = false }: { readonly notice: Notice; readonly isNew?: boolean }) {
  return (
    <a class={`notice${isNew ? ' notice-new' : ''}`} href={`/notices/${notice.id}`} data-id={notice.id}>
      <NoticePicture notice={notice} />
      <span class="notice-text">
        <span class="notice-head">
          <NoticeLevel level={notice.level} />
          <When atMs={notice.atMs} />
        </span>
        <strong class="notice-title">{notice.title}</strong>
        {notice.text !== '' && <span class="notice-said">{notice.text}</span>}
        <span class="muted notice-from">
          {[
            notice.camera ?? notice.device ?? notice.site,
            notice.scenario.name,
            notice.rule.name !== notice.scenario.name && notice.rule.name,
            notice.is === 'ended' && 'over',
          ]
            .filter(Boolean)
            .join(' · ')}
        </span>
        <DeliveriesAre deliveries={notice.deliveries} />
      </span>
    </a>
  )
}

function NoticePicture({ notice: { picture, title } }: { readonly notice: Notice }) {
  if (picture === null) return <span class="notice-picture notice-none" />
  return <img class="notice-picture" src={picture} alt={`To ${title}`} loading="lazy" decoding="async" />
}

function None({ isFiltered }: { readonly isFiltered: boolean }) {
  if (isFiltered)
    return (
      <Empty title="No notices match.">
        Remove a filter, or <a href="/notices">show all notices</a>.
      </Empty>
    )
  return (
    <Empty title="No notices yet.">
      {may('scenarios') ? (
        <>
          Notices come from the rules of scenarios. <a href="/scenarios">Publish a scenario</a>, give its rule
          a <a href="/channels">channel</a>, and what it notices appears here. If you expected one,{' '}
          <a href="/notices?show=decisions">see why nothing was sent</a>.
        </>
      ) : (
        'They appear here when a scenario notices something at a camera that you see.'
      )}
    </Empty>
  )
}

/** Newest first, each once; what comes from the first list is newer. @param isAll the first list is all there is */
function together(newer: readonly Notice[], older: readonly Notice[], isAll: boolean): readonly Notice[] {
  if (isAll) return newer
  const seen = new Set(newer.map(({ id }) => id))
  return [...newer, ...older.filter(({ id }) => !seen.has(id))].toSorted((a, b) => b.atMs - a.atMs)
}

function byDay(notices: readonly Notice[]): readonly (readonly [string, readonly Notice[]])[] {
  const days = new Map<string, Notice[]>()
  for (const notice of notices) {
    const title = day(notice.atMs)
    const of = days.get(title)
    if (of) of.push(notice)
    else days.set(title, [notice])
  }
  return [...days]
}
