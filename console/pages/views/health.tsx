import { useEffect, useState } from 'preact/hooks'
import type { HealthEvent } from '../../api/health-events.ts'
import * as api from '../api.ts'
import { useNews } from '../news.ts'
import { Level } from '../parts/level.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Failed, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { ask, place } from '../router.ts'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { day, duration } from '../words.ts'

await style('health.css')

/** What went wrong, from when to when; a mark says to everybody that somebody has reviewed it. */

const PAGE_COUNT = 50

const VIEWS = [
  ['', 'All'],
  ['open', 'Ongoing'],
  ['new', 'Not reviewed'],
] as const

export default function HealthPage() {
  const shown = place.value.query.get('show') ?? ''
  const [events, setEvents] = useState<readonly HealthEvent[] | undefined>(undefined)
  const [next, setNext] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(undefined)
  const [round, setRound] = useState(0)
  const [isLoading, setLoading] = useState(false)
  const query = {
    limit: String(PAGE_COUNT),
    ...(shown === 'open' && { open: 'true' as const }),
    ...(shown === 'new' && { reviewed: 'false' as const }),
  }
  // The query says it; a round is another try.
  useEffect(() => {
    const controller = new AbortController()
    api.healthEvents(query, controller.signal).then(
      (page) => {
        if (controller.signal.aborted) return
        setEvents(page.items)
        setNext(page.next)
        setError(undefined)
      },
      (problem: unknown) => {
        if (!controller.signal.aborted) setError(problem)
      },
    )
    return () => controller.abort()
  }, [shown, round])
  // Whoever came for one of them sees it first.
  const hasEvents = events !== undefined
  useEffect(() => {
    if (hasEvents && location.hash)
      document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: 'center' })
  }, [hasEvents])
  const again = () => setRound((count) => count + 1)
  useNews('health', again)
  useNews('reset', again)

  async function more(): Promise<void> {
    if (next === null) return
    setLoading(true)
    try {
      const page = await api.healthEvents({ ...query, cursor: next })
      setEvents((old) => [...(old ?? []), ...page.items])
      setNext(page.next)
    } catch (problem) {
      setError(problem)
    }
    setLoading(false)
  }

  async function mark(event: HealthEvent): Promise<void> {
    const reviewed = event.reviewedBy === null
    try {
      const after = await api.reviewHealth(event.id, reviewed)
      setEvents((old) => old?.map((one) => (one.id === event.id ? after : one)))
      say(reviewed ? 'Marked as reviewed, for everybody.' : 'Marked as not reviewed.')
    } catch (problem) {
      say(problem instanceof Error ? problem.message : String(problem), { isError: true })
    }
  }

  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Health</h1>
          <p class="page-sub">What went wrong with cameras, programs and the line, newest first.</p>
        </div>
        <fieldset class="switch">
          <legend class="visually-hidden">Show</legend>
          {VIEWS.map(([value, title]) => (
            <button
              key={value}
              type="button"
              aria-pressed={value === shown}
              onClick={() => {
                setEvents(undefined)
                ask({ show: value })
              }}
            >
              {title}
            </button>
          ))}
        </fieldset>
      </header>
      {error !== undefined && <Failed error={error} again={again} />}
      {events === undefined && error === undefined && <Waiting rows={6} />}
      {events?.length === 0 && (
        <Empty title={shown === '' ? 'No events yet.' : 'No events match.'}>
          Cameras that are down, devices that are offline, queues that grow and certificates that expire soon
          appear here.
        </Empty>
      )}
      {byDay(events ?? []).map(([title, ofDay]) => (
        <section key={title} aria-label={title}>
          <h2 class="timeline-day">{title}</h2>
          <ol class="timeline">
            {ofDay.map((event) => (
              <li
                key={event.id}
                id={event.id}
                class="event"
                data-over={event.endedAtMs === null ? undefined : ''}
                data-meant={location.hash === `#${event.id}` ? '' : undefined}
              >
                <Level event={event} />
                <div class="event-text">
                  <strong>
                    <Subject event={event} />
                  </strong>
                  <p>{event.text}</p>
                  <p class="muted">
                    Began <When atMs={event.atMs} />
                    {event.endedAtMs === null
                      ? ', ongoing'
                      : `, lasted ${duration(event.endedAtMs - event.atMs)}`}
                    {event.reviewedBy !== null && `; reviewed by ${event.reviewedBy}`}
                  </p>
                </div>
                {may('review') && (
                  <button
                    type="button"
                    class="button"
                    aria-pressed={event.reviewedBy !== null}
                    onClick={() => void mark(event)}
                  >
                    {event.reviewedBy === null ? 'Mark as reviewed' : 'Reviewed'}
                  </button>
                )}
              </li>
            ))}
          </ol>
        </section>
      ))}
      {next !== null && (
        <p class="end">
          <button type="button" class="button" disabled={isLoading} onClick={() => void more()}>
            {isLoading ? 'Loading …' : 'Show older events'}
          </button>
        </p>
      )}
    </div>
  )
}

function Subject({ event: { camera, subject } }: { readonly event: HealthEvent }) {
  if (camera === null) return <>{subject}</>
  return <a href={`/cameras/${camera.split('/').map(encodeURIComponent).join('/')}`}>{camera}</a>
}

function byDay(events: readonly HealthEvent[]): readonly (readonly [string, readonly HealthEvent[]])[] {
  const days = new Map<string, HealthEvent[]>()
  for (const event of events) {
    const title = day(event.atMs)
    const of = days.get(title)
    if (of) of.push(event)
    else days.set(title, [event])
  }
  return [...days]
}
