import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { Counts } from '../../api/counts.ts'
import { isDark, theme } from '../theme.ts'
import { number } from '../words.ts'
import { type Bars, spanTitle } from './chart-bars.ts'

/** Bars on top of each other, by uPlot. What it shows stands in the table below it as well. */

const HEIGHT_PX = 340
const LIGHT = ['#2b6a83', '#c2762c', '#5d7f3a', '#8a4f7d', '#b3473a', '#4a5d9e', '#9a948a']
const DARK = ['#6cb2cd', '#e3a25f', '#9cc276', '#c991bd', '#e2857a', '#93a5e6', '#8b857b']

export function StackedBars({ bars, by }: { readonly bars: Bars; readonly by: Counts['by'] }) {
  const element = useRef<HTMLDivElement>(null)
  const [hovered, setHovered] = useState<number | undefined>(undefined)
  const chosen = theme.value
  const colours = coloursOf(bars, isDark())
  // The theme changes the colours.
  useEffect(() => {
    const target = element.current
    if (!target) return
    const plot = new uPlot(optionsOf(bars, by, target.clientWidth, setHovered), stackedOf(bars), target)
    const observer = new ResizeObserver(() => plot.setSize({ width: target.clientWidth, height: HEIGHT_PX }))
    observer.observe(target)
    return () => {
      observer.disconnect()
      plot.destroy()
    }
  }, [bars, by, chosen])
  const at = hovered ?? bars.starts.length - 1
  return (
    <figure class="chart">
      <figcaption class="chart-legend" aria-hidden="true">
        <span class="chart-when">{spanTitle(bars.starts[at] ?? 0, by)}</span>
        {bars.series.map(({ title, counts }, index) => (
          <span key={title} class="chart-key">
            <i style={{ background: colours[index] }} />
            {title} <strong>{number(counts[at] ?? 0)}</strong>
          </span>
        ))}
      </figcaption>
      <div ref={element} class="chart-plot" aria-hidden="true" />
    </figure>
  )
}

function coloursOf({ series }: Bars, dark: boolean): readonly string[] {
  const colours = dark ? DARK : LIGHT
  const fixed = { all: 0, masked: 0, bare: 1, unknown: 6, others: 6 } as const
  return series.map(({ is }, index) => colours[is === 'camera' ? index : fixed[is]] ?? '')
}

/** Each series with those below it; the tallest is drawn first, and the others over it. */
function stackedOf({ starts, series }: Bars): uPlot.AlignedData {
  const below = new Array<number>(starts.length).fill(0)
  const stacked = series.map(({ counts }) =>
    counts.map((count, index) => (below[index] = (below[index] ?? 0) + count)),
  )
  return [starts.map((start) => start / 1000), ...stacked.reverse()]
}

function optionsOf(
  bars: Bars,
  by: Counts['by'],
  width: number,
  hover: (index: number | undefined) => void,
): uPlot.Options {
  const dark = isDark()
  const ink = dark ? '#9b948a' : '#6a645b'
  const line = dark ? '#2a2825' : '#e6e1d8'
  const axis = {
    stroke: ink,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  }
  const paths = uPlot.paths.bars?.({ size: [0.78, 64], radius: 0.12 })
  return {
    width,
    height: HEIGHT_PX,
    padding: [12, 26, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: (_, min, max) => padded(bars, min, max) },
      y: { range: (_, __, max) => [0, Math.max(4, max * 1.06)] },
    },
    axes: [
      {
        ...axis,
        size: 34,
        grid: { show: false },
        space: by === 'hour' ? 70 : 80,
        values: (_, splits) => splits.map((at) => AXIS[by].format(at * 1000)),
        splits: splitsOf(bars, width),
      },
      {
        ...axis,
        size: 52,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
        values: (_, splits) => splits.map((value) => number(value)),
      },
    ],
    series: [
      {},
      ...coloursOf(bars, dark)
        .map((colour) => ({ fill: colour, stroke: colour, width: 0, paths, points: { show: false } }))
        .reverse(),
    ],
    hooks: { setCursor: [({ cursor: { idx } }) => hover(idx ?? undefined)] },
  }
}

const AXIS: Readonly<Record<Counts['by'], Intl.DateTimeFormat>> = {
  hour: new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit' }),
  day: new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' }),
  week: new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' }),
  month: new Intl.DateTimeFormat(undefined, { month: 'short', year: '2-digit' }),
}

/** Under bars, not between them: as many as there is room for. */
function splitsOf({ starts }: Bars, width: number): () => number[] {
  const every = Math.max(1, Math.ceil(starts.length / Math.max(2, Math.floor((width - 60) / 82))))
  const shown = starts
    .filter((_, index) => (starts.length - 1 - index) % every === 0)
    .map((start) => start / 1000)
  return () => shown
}

/** Half a bar at both ends. */
function padded({ starts }: Bars, min: number, max: number): [number, number] {
  const half =
    starts.length > 1 ? (((starts.at(-1) ?? 0) - (starts[0] ?? 0)) / (starts.length - 1) / 1000) * 0.6 : 1800
  return [min - half, max + half]
}
