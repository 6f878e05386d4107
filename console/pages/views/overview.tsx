import { useState } from 'preact/hooks'
import type { Overview } from '../../api/counts.ts'
import type { Detection } from '../../api/detections.ts'
import type { HealthEvent } from '../../api/health-events.ts'
import * as api from '../api.ts'
import { devicePage } from '../devices.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { nowMs } from '../now.ts'
import { CameraIs, whatIsWrong } from '../parts/camera-state.tsx'
import { FacePicture, FaceTile } from '../parts/face-tile.tsx'
import { Level } from '../parts/level.tsx'
import { withoutSuperseded } from '../parts/shots.ts'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { style } from '../styles.ts'
import { count, day, number, share } from '../words.ts'
import { DevicesThatRefused } from './overview-devices.tsx'
import { LatestNotices } from './overview-notices.tsx'

await style('overview.css')

/** What was seen today, who is live, and what needs attention. */

const NEWEST_COUNT = 12
/** What the event stream does not bring: totals after midnight, cameras that fell silent. */
const REFRESH_MS = 20_000

const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone

export default function OverviewPage() {
  const overview = useLoaded('overview', (signal) => api.overview(zone(), signal))
  const newest = useLoaded('newest', (signal) => api.detections({ limit: String(NEWEST_COUNT) }, signal))
  const hours = useLoaded('hours', (signal) =>
    api.counts({ by: 'hour', tz: zone(), from: String(startOfDay()) }, signal),
  )
  const [since, setSince] = useState<{
    readonly of: Overview | undefined
    readonly faces: readonly Detection[]
  }>({
    of: undefined,
    faces: [],
  })
  // What came after the totals were fetched is added to them, until they are fetched again.
  const fresh = since.of === overview.value ? since.faces : []
  useNews('detection', (face) => {
    setSince((old) => ({
      of: overview.value,
      faces: [face, ...(old.of === overview.value ? old.faces : [])].slice(0, 500),
    }))
  })
  const again = () => {
    overview.again()
    newest.again()
    hours.again()
  }
  useNews('reset', again)
  useNews('health', overview.again)
  useNews('camera', overview.again)
  useEvery(REFRESH_MS, again)

  return (
    <div class="page">
      <header class="page-head">
        <h1>Overview</h1>
        <p class="page-sub">{day(nowMs.value)}</p>
      </header>
      <Shown of={overview} waiting={<Waiting shape="tile" rows={4} />}>
        {(value) => <Figures overview={value} fresh={fresh} hours={hours.value?.items ?? []} />}
      </Shown>
      <div class="overview-halves">
        <section aria-labelledby="needs">
          <h2 id="needs">Needs attention</h2>
          <Shown of={overview}>{(value) => <Needs overview={value} />}</Shown>
          <DevicesThatRefused />
        </section>
        <section aria-labelledby="newest">
          <h2 id="newest">Newest face</h2>
          <Shown of={overview} waiting={<Waiting shape="block" rows={1} />}>
            {(value) => <Newest face={fresh[0] ?? value.newest ?? undefined} />}
          </Shown>
        </section>
      </div>
      <LatestNotices />
      <section aria-labelledby="latest">
        <div class="section-head">
          <h2 id="latest">Just seen</h2>
          <a href="/faces">All faces</a>
        </div>
        <Shown of={newest} waiting={<Waiting shape="tile" rows={6} />}>
          {({ items }) => <Latest faces={merge(fresh, items)} />}
        </Shown>
      </section>
    </div>
  )
}

function merge(fresh: readonly Detection[], items: readonly Detection[]): readonly Detection[] {
  const seen = new Set<string>()
  const each = [...fresh, ...items].filter(({ id }) => !seen.has(id) && seen.add(id))
  return withoutSuperseded(each).slice(0, NEWEST_COUNT)
}

function Figures({
  overview: { today, cameras, needsCount },
  fresh,
  hours,
}: {
  readonly overview: Overview
  readonly fresh: readonly Detection[]
  readonly hours: readonly { readonly fromMs: number; readonly count: number }[]
}) {
  const ofToday = withoutSuperseded(fresh).filter(({ atMs }) => atMs >= today.fromMs)
  const masked = today.masked + ofToday.filter((face) => face.masked === true).length
  const bare = today.notMasked + ofToday.filter((face) => face.masked === false).length
  return (
    <dl class="figures">
      <a class="figure" href={`/faces?from=${today.fromMs}`}>
        <dt>Faces today</dt>
        <dd class="figure-value">{number(today.total + ofToday.length)}</dd>
        <dd class="figure-note">
          <Hours
            items={[...hours, ...ofToday.map(({ atMs }) => ({ fromMs: atMs, count: 1 }))]}
            fromMs={today.fromMs}
          />
        </dd>
      </a>
      <a class="figure" href={`/faces?masked=true&from=${today.fromMs}`}>
        <dt>Wearing a mask</dt>
        <dd class="figure-value">{masked + bare === 0 ? '–' : share(masked / (masked + bare))}</dd>
        <dd class="figure-note">
          {masked + bare === 0 ? (
            'The model in use does not report masks.'
          ) : (
            <>
              <span class="meter" role="presentation">
                <span style={{ width: `${(masked / (masked + bare)) * 100}%` }} />
              </span>
              {number(masked)} with, {number(bare)} without
            </>
          )}
        </dd>
      </a>
      <a class="figure" href="/cameras">
        <dt>Cameras live</dt>
        <dd class="figure-value">
          {number(cameras.live)}
          <small> of {number(cameras.all)}</small>
        </dd>
        <dd class="figure-note">
          {cameras.all === 0
            ? 'No cameras yet.'
            : cameras.live === cameras.all
              ? 'All of them.'
              : `${count(cameras.all - cameras.live, 'camera')} not live`}
        </dd>
      </a>
      <a class="figure" href="#needs" data-tone={needsCount > 0 ? 'bad' : 'good'}>
        <dt>Needs attention</dt>
        <dd class="figure-value">{number(needsCount)}</dd>
        <dd class="figure-note">{needsCount === 0 ? 'All is well.' : 'See below.'}</dd>
      </a>
    </dl>
  )
}

const HOUR_MS = 3_600_000

/** The day so far, a bar an hour. */
function Hours({
  items,
  fromMs,
}: {
  readonly items: readonly { readonly fromMs: number; readonly count: number }[]
  readonly fromMs: number
}) {
  const bars = Array.from({ length: 24 }, (_, hour) => {
    const from = fromMs + hour * HOUR_MS
    return items
      .filter((item) => item.fromMs >= from && item.fromMs < from + HOUR_MS)
      .reduce((sum, item) => sum + item.count, 0)
  })
  const most = Math.max(1, ...bars)
  const hourNow = Math.floor((nowMs.value - fromMs) / HOUR_MS)
  return (
    <svg
      class="hours"
      viewBox="0 0 24 8"
      preserveAspectRatio="none"
      role="img"
      aria-label="Faces by hour of today"
    >
      {bars.map((value, hour) => {
        const height = value === 0 ? 0.25 : 0.4 + (value / most) * 7.6
        return (
          <rect
            key={hour}
            class={hour === hourNow ? 'hours-now' : undefined}
            x={hour + 0.12}
            y={8 - height}
            width={0.76}
            height={height}
          />
        )
      })}
    </svg>
  )
}

function Needs({ overview: { needs, needsCount } }: { readonly overview: Overview }) {
  if (needs.length === 0)
    return <Empty title="Nothing needs attention.">Problems with cameras and programs appear here.</Empty>
  return (
    <ul class="needs">
      {needs.map((need) =>
        need.is === 'camera' ? (
          <li key={`camera ${need.camera.site}/${need.camera.device}/${need.camera.camera}`}>
            <a class="need" href={`/cameras/${api.cameraPath(need.camera)}`}>
              <CameraIs camera={need.camera} />
              <span class="need-what">
                <strong>{need.camera.camera}</strong>{' '}
                <span class="muted">
                  {need.camera.site} · {need.camera.device}
                </span>
                <span class="need-why">{whatIsWrong(need.camera) ?? ''}</span>
              </span>
              {need.camera.stateAtMs !== null && <When atMs={need.camera.stateAtMs} />}
            </a>
          </li>
        ) : (
          <li key={need.event.id}>
            <a class="need" href={hrefOf(need.event)}>
              <Level event={need.event} />
              <span class="need-what">
                <strong>{need.event.subject}</strong>
                <span class="need-why">{need.event.text}</span>
              </span>
              <When atMs={need.event.atMs} />
            </a>
          </li>
        ),
      )}
      {needsCount > needs.length && (
        <li class="muted">
          And {number(needsCount - needs.length)} more: <a href="/health">see all</a>
        </li>
      )}
    </ul>
  )
}

/** Of a device that does not take what it shall be: where that is said in full. */
const hrefOf = ({ id, kind, subject }: HealthEvent) =>
  kind === 'desired-refused' ? devicePage(addressOf(subject)) : `/health#${id}`

function addressOf(subject: string): { readonly site: string; readonly device: string } {
  const [site = '', device = ''] = subject.split('/')
  return { site, device }
}

function Newest({ face }: { readonly face: Detection | undefined }) {
  if (!face) return <NoFaces />
  return (
    <a class="newest" href={`/faces/${face.id}`}>
      <FacePicture key={face.id} face={face} eager />
      <span class="newest-text">
        <strong>{face.camera}</strong>
        <span class="muted">
          {face.site} · {face.device}
        </span>
        <When atMs={face.capturedAtMs} />
        {face.masked !== null && <span>{face.masked ? 'With a mask' : 'Without a mask'}</span>}
      </span>
    </a>
  )
}

function Latest({ faces }: { readonly faces: readonly Detection[] }) {
  if (faces.length === 0) return <NoFaces />
  return (
    <ul class="grid grid-strip">
      {faces.map((face) => (
        <li key={face.id}>
          <FaceTile face={face} />
        </li>
      ))}
    </ul>
  )
}

const NoFaces = () => (
  <Empty title="No faces yet.">
    A face appears here about a second after a camera has seen it. <a href="/cameras">Look at the cameras</a>
  </Empty>
)

function startOfDay(): number {
  const date = new Date()
  date.setHours(0, 0, 0, 0)
  return date.getTime()
}
