import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { EventData } from '../../api/events.ts'
import type { Keeper } from '../../api/keepers.ts'
import * as api from '../api.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { nowMs } from '../now.ts'
import { withNews } from '../parts/camera-news.ts'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { ask, place } from '../router.ts'
import { style } from '../styles.ts'
import { cameraKey, count, duration, number, rate } from '../words.ts'
import { CropRates } from './crop-rates.ts'
import { FlowDetail } from './flow-detail.tsx'
import { FlowDrawing } from './flow-drawing.tsx'
import { type Flow, type FlowNode, flowOf, lostOf, pendingWords, type STAGES, waiting } from './flow-graph.ts'
import { FlowList } from './flow-list.tsx'

await style('flow.css')

/** The line as it is: who hands on to whom, how fast, and where something waits. */

const REFRESH_MS = 20_000

export default function FlowPage() {
  const keepers = useLoaded('keepers', api.keepers)
  const cameras = useLoaded('flow cameras', api.cameras)
  const [keepersSaid, setKeepersSaid] = useState<ReadonlyMap<string, Keeper>>(new Map())
  const [camerasSaid, setCamerasSaid] = useState<ReadonlyMap<string, EventData<'camera'>>>(new Map())
  const rates = useRef(new CropRates(({ crops }) => crops))
  const clipRates = useRef(new CropRates(({ record }) => record?.clips ?? 0))
  useNews('keeper', (keeper) => setKeepersSaid((old) => new Map(old).set(keeper.keeper, keeper)))
  useNews('camera', (camera) => setCamerasSaid((old) => new Map(old).set(cameraKey(camera), camera)))
  const again = () => {
    keepers.again()
    cameras.again()
  }
  useNews('reset', again)
  useEvery(REFRESH_MS, again)
  // What is fetched is newer than what was said before.
  // When it has come.
  useEffect(() => setKeepersSaid(new Map()), [keepers.value])
  // When it has come.
  useEffect(() => setCamerasSaid(new Map()), [cameras.value])

  const now = nowMs.value
  const allCameras = withNews(cameras.value?.items ?? [], camerasSaid)
  const allKeepers = [
    ...new Map([
      ...(keepers.value?.items ?? []).map((keeper) => [keeper.keeper, keeper] as const),
      ...keepersSaid,
    ]).values(),
  ]
  for (const camera of allCameras) {
    rates.current.see(camera)
    clipRates.current.see(camera)
  }
  const flow = useMemo(
    () =>
      flowOf({
        keepers: allKeepers,
        cameras: allCameras,
        cropsPerS: new Map(allCameras.map((camera) => [cameraKey(camera), rates.current.perS(camera, now)])),
        clipsPerS: new Map(
          allCameras.map((camera) => [cameraKey(camera), clipRates.current.perS(camera, now)]),
        ),
        nowMs: now,
      }),
    // The lists are made anew each time.
    [keepers.value, cameras.value, keepersSaid, camerasSaid, now],
  )
  const { query } = place.value
  const isList = query.get('as') === 'list'
  const opened = flow.nodes.find(({ id }) => id === query.get('show'))
  const open = (node: FlowNode) => ask({ show: node.id })

  return (
    <div class="page page-wide">
      <header class="page-head">
        <div>
          <h1>Flow</h1>
          {keepers.value && cameras.value && <Summary flow={flow} now={now} />}
        </div>
        <fieldset class="switch flow-switch">
          <legend class="visually-hidden">Show it as</legend>
          <button type="button" aria-pressed={!isList} onClick={() => ask({ as: undefined })}>
            Drawing
          </button>
          <button type="button" aria-pressed={isList} onClick={() => ask({ as: 'list' })}>
            List
          </button>
        </fieldset>
      </header>
      <Shown of={keepers} waiting={<Waiting shape="block" rows={1} />}>
        {() =>
          flow.nodes.length === 0 ? (
            <Empty title="No program has reported yet.">
              Each program reports every few seconds if <code>report</code> is enabled in its settings.
            </Empty>
          ) : (
            <>
              <div class={isList ? 'flow-hidden' : 'flow-wide'}>
                <FlowDrawing flow={flow} now={now} open={open} />
              </div>
              <div class={isList ? '' : 'flow-narrow'}>
                <FlowList flow={flow} now={now} open={open} />
              </div>
              <Waits flow={flow} now={now} open={open} />
            </>
          )
        }
      </Shown>
      {opened && <FlowDetail node={opened} now={now} onClose={() => ask({ show: undefined })} />}
    </div>
  )
}

/** How it stands, in a sentence. */
function Summary({ flow, now }: { readonly flow: Flow; readonly now: number }) {
  const bad = flow.nodes.filter(({ tone }) => tone === 'bad')
  const waits = waiting(flow, now)
  const buckets = flow.nodes.filter(({ stage }) => stage === 'bucket')
  const into = buckets.reduce((sum, { perS }) => sum + perS, 0)
  const clips = buckets.reduce((sum, { clipsPerS }) => sum + clipsPerS, 0)
  const pending = waits.reduce((sum, { node }) => sum + node.books.pending, 0)
  const [first] = waits
  return (
    <p class="page-sub flow-summary" role="status">
      <span class="tone" data-tone={bad.length > 0 ? 'bad' : first ? 'late' : 'good'}>
        <span class="dot" />
        {bad.length > 0
          ? `${count(bad.length, 'part')} of the line ${bad.length === 1 ? 'needs' : 'need'} attention.`
          : first
            ? `${count(pending, 'message')} ${pending === 1 ? 'waits' : 'wait'}.`
            : 'Everything flows, nothing waits.'}
      </span>{' '}
      {rate(into)} {into === 1 ? 'crop' : 'crops'}
      {clips > 0 && ` and ${rate(clips)} ${clips === 1 ? 'clip' : 'clips'}`} a second into the bucket.
    </p>
  )
}

function Waits({
  flow,
  now,
  open,
}: {
  readonly flow: Flow
  readonly now: number
  readonly open: (node: FlowNode) => void
}) {
  const waits = waiting(flow, now)
  const bad = flow.nodes.filter(({ tone, why }) => tone === 'bad' && why !== undefined)
  const dropping = flow.nodes.filter(({ books }) => lostOf(books) > 0)
  return (
    <div class="flow-below">
      <section aria-labelledby="waits">
        <h2 id="waits">Where something waits</h2>
        {waits.length === 0 ? (
          <p class="muted">Nowhere: each program forwards what it accepts within seconds.</p>
        ) : (
          <ul class="needs">
            {waits.map(({ node, sinceMs }) => (
              <li key={node.id}>
                <button type="button" class="need" onClick={() => open(node)}>
                  <span class="tone" data-tone="late">
                    <span class="dot" />
                    {pendingWords(node)}
                  </span>
                  <span class="need-what">
                    <strong>{node.title}</strong> <span class="muted">{node.sub}</span>
                    <span class="need-why">The oldest has waited for {duration(now - sinceMs)}.</span>
                  </span>
                </button>
              </li>
            ))}
          </ul>
        )}
      </section>
      <section aria-labelledby="wrong">
        <h2 id="wrong">What is wrong</h2>
        {bad.length === 0 ? (
          <p class="muted">Nothing: each program reports that it is healthy.</p>
        ) : (
          <ul class="needs">
            {bad.map((node) => (
              <li key={node.id}>
                <button type="button" class="need" onClick={() => open(node)}>
                  <span class="tone" data-tone="bad">
                    <span class="dot" />
                    {STAGE_WORDS[node.stage]}
                  </span>
                  <span class="need-what">
                    <strong>{node.title}</strong>
                    <span class="need-why">{node.why}</span>
                  </span>
                </button>
              </li>
            ))}
          </ul>
        )}
      </section>
      <section aria-labelledby="dropped">
        <h2 id="dropped">Dropped since each store was created</h2>
        {dropping.length === 0 ? (
          <p class="muted">Nothing: each program has forwarded what it accepted, or still holds it.</p>
        ) : (
          <table class="table">
            <tbody>
              {dropping.flatMap(({ id, title, books }) =>
                Object.entries(books.dropped)
                  .filter(([, many]) => many > 0)
                  .map(([reason, many]) => (
                    <tr key={`${id} ${reason}`}>
                      <td>{title}</td>
                      <td>{reason}</td>
                      <td class="right">{number(many)}</td>
                    </tr>
                  )),
              )}
            </tbody>
          </table>
        )}
      </section>
    </div>
  )
}

const STAGE_WORDS: Readonly<Record<(typeof STAGES)[number], string>> = {
  camera: 'Camera',
  agent: 'Agent',
  edge: 'Edge broker',
  bridge: 'Bridge',
  broker: 'Broker',
  subscriber: 'Subscriber',
  bucket: 'Bucket',
  database: 'Database',
}
