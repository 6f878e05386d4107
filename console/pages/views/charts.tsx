import { useMemo } from 'preact/hooks'
import type { Counts } from '../../api/counts.ts'
import * as api from '../api.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { ask, place } from '../router.ts'
import { style } from '../styles.ts'
import { cameraKey, number } from '../words.ts'
import { type Bars, barsOf, SPANS, spanTitle } from './chart-bars.ts'
import { StackedBars } from './stacked-bars.tsx'

await Promise.all([style('charts.css'), style('lib/uplot.css')])

/** How many faces, by hour, day, week or month; by camera, or with a mask and without. */

const REFRESH_MS = 60_000
type By = Counts['by']
const BYS = ['hour', 'day', 'week', 'month'] as const satisfies By[]
const SPLITS = [
  ['none', 'All'],
  ['masked', 'By mask'],
  ['camera', 'By camera'],
] as const

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone

export default function ChartsPage() {
  const { query } = place.value
  const by = BYS.find((value) => value === query.get('by')) ?? 'hour'
  const split = SPLITS.find(([value]) => value === query.get('split'))?.[0] ?? 'masked'
  const where = query.get('camera') ?? ''
  const from = SPANS[by].from(Date.now())
  const counts = useLoaded(`${by} ${split} ${where} ${from}`, (signal) =>
    api.counts({ by, tz: zone, split, from: String(from), ...(where && { camera: where }) }, signal),
  )
  const cameras = useLoaded('chart cameras', api.cameras)
  useEvery(REFRESH_MS, counts.again)
  return (
    <div class="page">
      <header class="page-head">
        <h1>Charts</h1>
      </header>
      <form class="chart-choices" onSubmit={(event) => event.preventDefault()}>
        <Switch
          label="By"
          chosen={by}
          choose={(value) => ask({ by: value })}
          options={BYS.map((value) => [value, SPANS[value].title])}
        />
        <Switch label="Split" chosen={split} choose={(value) => ask({ split: value })} options={SPLITS} />
        <label class="field">
          <span>Camera</span>
          <select value={where} onChange={({ currentTarget: { value } }) => ask({ camera: value })}>
            <option value="">All cameras</option>
            {cameras.value?.items.map((camera) => (
              <option key={cameraKey(camera)} value={cameraKey(camera)}>
                {camera.camera} ({camera.site} · {camera.device})
              </option>
            ))}
          </select>
        </label>
      </form>
      <Shown of={counts} waiting={<Waiting shape="block" rows={1} />}>
        {(value) => <Chart key={`${by} ${split}`} counts={value} by={by} split={split} fromMs={from} />}
      </Shown>
    </div>
  )
}

function Switch<Value extends string>({
  label,
  chosen,
  options,
  choose,
}: {
  readonly label: string
  readonly chosen: Value
  readonly options: readonly (readonly [Value, string])[]
  readonly choose: (value: Value) => void
}) {
  return (
    <fieldset class="switch">
      <legend class="visually-hidden">{label}</legend>
      {options.map(([value, title]) => (
        <button key={value} type="button" aria-pressed={value === chosen} onClick={() => choose(value)}>
          {title}
        </button>
      ))}
    </fieldset>
  )
}

function Chart({
  counts,
  by,
  split,
  fromMs,
}: {
  readonly counts: Counts
  readonly by: By
  readonly split: (typeof SPLITS)[number][0]
  readonly fromMs: number
}) {
  const bars = useMemo(() => barsOf(counts, split, fromMs, Date.now()), [counts, split, fromMs])
  const busiest = bars.totals.indexOf(Math.max(...bars.totals))
  if (counts.total === 0)
    return <Empty title="No faces in this time.">{SPANS[by].shown} Choose longer spans to see more.</Empty>
  return (
    <>
      <p class="chart-sum">
        <strong>{number(counts.total)}</strong> {counts.total === 1 ? 'face' : 'faces'}. {SPANS[by].shown}{' '}
        Most of them {{ hour: 'in the hour of', day: 'on', week: 'in', month: 'in' }[by]}{' '}
        {spanTitle(bars.starts[busiest] ?? fromMs, by)}: {number(bars.totals[busiest] ?? 0)}.
      </p>
      <StackedBars bars={bars} by={by} />
      <details class="details">
        <summary>The numbers</summary>
        <Numbers bars={bars} by={by} />
      </details>
    </>
  )
}

/** The same for a screen reader, and to be copied. */
function Numbers({ bars, by }: { readonly bars: Bars; readonly by: By }) {
  return (
    <div class="table-scroll">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">When</th>
            {bars.series.map(({ title }) => (
              <th key={title} scope="col" class="right">
                {title}
              </th>
            ))}
            {bars.series.length > 1 && (
              <th scope="col" class="right">
                Total
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {bars.starts
            .map((start, index) => (
              <tr key={start}>
                <th scope="row">{spanTitle(start, by)}</th>
                {bars.series.map(({ title, counts }) => (
                  <td key={title} class="right">
                    {number(counts[index] ?? 0)}
                  </td>
                ))}
                {bars.series.length > 1 && <td class="right">{number(bars.totals[index] ?? 0)}</td>}
              </tr>
            ))
            .reverse()}
        </tbody>
      </table>
    </div>
  )
}
