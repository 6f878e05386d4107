import { type Signal, useSignalEffect } from '@preact/signals'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { clock, clockWithSeconds, count, share } from '../words.ts'
import {
  clustered,
  type FaceMark,
  type Gap,
  gapWords,
  isLoss,
  type RecordedDay,
  spanAt,
} from './recorded-day.ts'
import { clamp, moved, spanOf, ticksOf, timeAt, type View, xOf, zoomed } from './timeline-scale.ts'

/** Cameras' recordings of a day under one ruler and one playhead. What it shows the slider's text says as well. */

const RULER_PX = 28
const ROW_PX = 62
const FACES_PX = 20
const ROW_GAP_PX = 10
/** Marks of faces lie no closer. */
const APART_PX = 9
const NEAR_PX = 8
/** A label that begins later would stick out. */
const LAST_PX = 32
/** Of a turn of the wheel. */
const WHEEL_STRENGTH = 0.0016
const offsetMs = (atMs: number) => -new Date(atMs).getTimezoneOffset() * 60_000

export interface TimelineRow {
  readonly key: string
  readonly title: string
  /** Undefined until it is known. */
  readonly day: RecordedDay | undefined
}

export interface Marked {
  readonly inMs: number | undefined
  readonly outMs: number | undefined
}

interface Pointed {
  readonly x: number
  readonly row: TimelineRow | undefined
}

export function Timeline({
  rows,
  day,
  view,
  atMs,
  marked,
  knownToMs,
  seek,
  words,
}: {
  readonly rows: readonly TimelineRow[]
  readonly day: View
  readonly view: Signal<View>
  readonly atMs: Signal<number>
  readonly marked: Marked
  /** What is later has not happened yet. */
  readonly knownToMs: number
  readonly seek: (atMs: number, isPassing: boolean) => void
  /** What is at a moment, for who does not see it. */
  readonly words: (atMs: number) => string
}) {
  const frame = useRef<HTMLDivElement>(null)
  const head = useRef<SVGGElement>(null)
  const [width, setWidth] = useState(0)
  const [pointed, setPointed] = useState<Pointed | undefined>(undefined)
  const shown = view.value
  const height = RULER_PX + rows.length * (ROW_PX + ROW_GAP_PX)
  const x = (at: number) => xOf(shown, width, at)

  useEffect(() => {
    const element = frame.current
    if (!element) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    observer.observe(element)
    setWidth(element.clientWidth)
    return () => observer.disconnect()
  }, [])

  // Sixty times a second: past the drawing of everything else.
  useSignalEffect(() => {
    const at = xOf(view.value, width, atMs.value)
    head.current?.setAttribute('transform', `translate(${clamp(at, -20, width + 20)} 0)`)
  })
  useEffect(() => {
    head.current?.setAttribute('transform', `translate(${clamp(x(atMs.peek()), -20, width + 20)} 0)`)
  }, [width, rows.length])
  useSignalEffect(() => {
    const element = frame.current
    const whole = Math.floor(atMs.value / 1000) * 1000
    if (!element || element.getAttribute('aria-valuenow') === String(whole)) return
    element.setAttribute('aria-valuenow', String(whole))
    element.setAttribute('aria-valuetext', words(atMs.value))
  })

  const fingers = useRef(new Map<number, { x: number; isRuler: boolean }>())
  const onPointer = usePointer({ view, day, width, seek, fingers, setPointed, rowAt })

  // Not by an attribute: the page must not scroll with it.
  useEffect(() => {
    const element = frame.current
    if (!element) return
    const onWheel = (event: WheelEvent) => {
      event.preventDefault()
      const at = event.clientX - element.getBoundingClientRect().left
      const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey
      if (isSideways) {
        const by = event.deltaX || event.deltaY
        view.value = moved(view.peek(), day, (by / element.clientWidth) * spanOf(view.peek()))
        return
      }
      const lines = event.deltaMode === 1 ? 16 : 1
      const strength = event.ctrlKey ? WHEEL_STRENGTH * 6 : WHEEL_STRENGTH
      const factor = Math.exp(event.deltaY * lines * strength)
      view.value = zoomed(view.peek(), day, factor, timeAt(view.peek(), element.clientWidth, at))
    }
    element.addEventListener('wheel', onWheel, { passive: false })
    return () => element.removeEventListener('wheel', onWheel)
  }, [day.fromMs, day.toMs])

  function rowAt(y: number): TimelineRow | undefined {
    return rows[Math.floor((y - RULER_PX) / (ROW_PX + ROW_GAP_PX))]
  }

  const ticks = useMemo(() => ticksOf(shown, width || 1, offsetMs), [shown, width])
  return (
    <div
      ref={frame}
      class="timeline"
      role="slider"
      tabIndex={0}
      aria-label="Time of day"
      aria-valuemin={day.fromMs}
      aria-valuemax={day.toMs}
      aria-valuenow={Math.floor(atMs.peek() / 1000) * 1000}
      aria-valuetext={words(atMs.peek())}
      {...onPointer}
    >
      {width > 0 && (
        <svg class="timeline-drawing" width={width} height={height} aria-hidden="true">
          <defs>
            <pattern
              id="timeline-hatch"
              width="6"
              height="6"
              patternUnits="userSpaceOnUse"
              patternTransform="rotate(45)"
            >
              <line class="timeline-hatch" x1="0" y1="0" x2="0" y2="6" />
            </pattern>
          </defs>
          {ticks
            .filter(({ atMs: at }) => x(at) < width - LAST_PX)
            .map(({ atMs: at, withSeconds }) => (
              <g key={at} class="timeline-tick" transform={`translate(${x(at)} 0)`}>
                <line y1={RULER_PX - 6} y2={height} />
                <text x="4" y={RULER_PX - 10}>
                  {withSeconds ? clockWithSeconds(at) : clock(at)}
                </text>
              </g>
            ))}
          {rows.map((row, index) => (
            <Row
              key={row.key}
              row={row}
              isNamed={rows.length > 1}
              top={RULER_PX + index * (ROW_PX + ROW_GAP_PX)}
              view={shown}
              width={width}
              knownToMs={Math.min(knownToMs, day.toMs)}
            />
          ))}
          <MarkedBand marked={marked} x={x} height={height} />
          <g ref={head} class="timeline-head">
            <line y1={RULER_PX - 8} y2={height} />
            <path d={`M-7 ${RULER_PX - 20}h14v8l-7 7l-7 -7z`} />
          </g>
        </svg>
      )}
      {pointed && width > 0 && (
        <Tip pointed={pointed} view={shown} width={width} rows={rows} knownToMs={knownToMs} />
      )}
    </div>
  )
}

function Row({
  row,
  isNamed,
  top,
  view,
  width,
  knownToMs,
}: {
  readonly row: TimelineRow
  readonly isNamed: boolean
  readonly top: number
  readonly view: View
  readonly width: number
  readonly knownToMs: number
}) {
  const { day } = row
  const boxTop = top + FACES_PX
  const boxHeight = ROW_PX - FACES_PX
  const x = (at: number) => clamp(xOf(view, width, at), -2, width + 2)
  const knownX = x(knownToMs)
  return (
    <g class="timeline-row">
      <rect class="timeline-ground" x="0" y={boxTop} width={Math.max(0, knownX)} height={boxHeight} rx="4" />
      {day?.gaps.map((gap) => {
        const [from, to] = [x(gap.fromMs), x(gap.toMs)]
        return (
          to - from > 0 && (
            <rect
              key={gap.fromMs}
              class="timeline-gap"
              data-loss={isLoss(gap.why) ? '' : undefined}
              x={from}
              y={boxTop}
              width={to - from}
              height={boxHeight}
            />
          )
        )
      })}
      {day?.stretches.map(({ fromMs, toMs }) => {
        const [from, to] = [x(fromMs), x(toMs)]
        return (
          to >= 0 &&
          from <= width && (
            <rect
              key={fromMs}
              class="timeline-recorded"
              x={from}
              y={boxTop}
              width={Math.max(1, to - from)}
              height={boxHeight}
            />
          )
        )
      })}
      {day && (
        <path class="timeline-motion" d={motionPath(day, view, width, boxTop + boxHeight, boxHeight - 6)} />
      )}
      {day?.kept.map(({ fromMs, toMs }) => (
        <rect
          key={`${fromMs} ${toMs}`}
          class="timeline-kept"
          x={x(fromMs)}
          y={boxTop + boxHeight - 4}
          width={Math.max(2, x(toMs) - x(fromMs))}
          height="4"
        />
      ))}
      {day &&
        clustered(day.faces, (at) => xOf(view, width, at), width, APART_PX).map(({ x: at, faces }) => (
          <circle
            key={faces[0]?.id}
            class="timeline-face"
            cx={at}
            cy={boxTop - 8}
            r={clamp(2.5 + Math.log2(countOf(faces)) * 0.7, 2.5, 5)}
          />
        ))}
      {isNamed && (
        <text class="timeline-name" x="8" y={boxTop + 17}>
          {row.title}
        </text>
      )}
    </g>
  )
}

const countOf = (faces: readonly FaceMark[]) => faces.reduce((sum, { count }) => sum + count, 0)

/** An area whose height is how much moved. */
function motionPath(
  { motion }: RecordedDay,
  view: View,
  width: number,
  bottom: number,
  height: number,
): string {
  let path = ''
  for (const { fromMs, toMs, share: moving } of motion) {
    const [from, to] = [xOf(view, width, fromMs), xOf(view, width, toMs)]
    if (to < 0 || from > width || moving <= 0) continue
    path += `M${from.toFixed(1)} ${bottom}v${-(moving * height).toFixed(1)}H${Math.max(from + 1, to).toFixed(1)}V${bottom}Z`
  }
  return path
}

function MarkedBand({
  marked: { inMs, outMs },
  x,
  height,
}: {
  readonly marked: Marked
  readonly x: (atMs: number) => number
  readonly height: number
}) {
  if (inMs === undefined && outMs === undefined) return null
  const edges = [inMs, outMs].flatMap((at) => (at === undefined ? [] : [x(at)]))
  const [from = 0, to = from] = edges
  return (
    <g class="timeline-marked">
      {edges.length === 2 && (
        <rect x={from} y={RULER_PX - 6} width={Math.max(1, to - from)} height={height - RULER_PX + 6} />
      )}
      {inMs !== undefined && <path d={`M${x(inMs) + 6} ${RULER_PX - 6}h-6V${height}h6`} />}
      {outMs !== undefined && <path d={`M${x(outMs) - 6} ${RULER_PX - 6}h6V${height}h-6`} />}
    </g>
  )
}

/** What is under the pointer. */
function Tip({
  pointed,
  view,
  width,
  rows,
  knownToMs,
}: {
  readonly pointed: Pointed
  readonly view: View
  readonly width: number
  readonly rows: readonly TimelineRow[]
  readonly knownToMs: number
}) {
  const at = timeAt(view, width, pointed.x)
  const row = pointed.row ?? (rows.length === 1 ? rows[0] : undefined)
  const day = row?.day
  const near = day
    ? clustered(day.faces, (ms) => xOf(view, width, ms), width, APART_PX).find(
        (cluster) => Math.abs(cluster.x - pointed.x) <= NEAR_PX,
      )
    : undefined
  const face = near?.faces[0]
  const motion = day && spanAt(day.motion, at)
  const kept = day && spanAt(day.kept, at)
  return (
    <div
      class="timeline-tip"
      style={{
        left: `${clamp(pointed.x, 90, Math.max(90, width - 90))}px`,
      }}
      role="presentation"
    >
      <strong>{clockWithSeconds(at)}</strong>
      {face && near && (
        <span class="timeline-tip-face">
          <img src={face.picture} alt="" width="72" height="90" />
          {countOf(near.faces) > 1 ? `${count(countOf(near.faces), 'face')}` : clockWithSeconds(face.atMs)}
        </span>
      )}
      {day && <span>{recordedWords(day, at, knownToMs)}</span>}
      {motion && motion.share > 0 && <span>Motion {share(motion.share)}</span>}
      {kept && <span>Kept by {kept.by}</span>}
    </div>
  )
}

/** `Recorded`, or why not and from when to when. */
export function recordedWords(day: RecordedDay, atMs: number, knownToMs: number): string {
  if (spanAt(day.stretches, atMs)) return 'Recorded'
  if (atMs >= knownToMs) return 'Not yet'
  const gap = spanAt(day.gaps, atMs)
  return gap ? gapText(gap) : 'No recording'
}

export const gapText = ({ fromMs, toMs, why }: Gap) =>
  `No recording: ${gapWords(why)} from ${clockWithSeconds(fromMs)} to ${clockWithSeconds(toMs)}`

/** One finger seeks (on the ruler: moves what is seen), two zoom and move. */
function usePointer({
  view,
  day,
  width,
  seek,
  fingers,
  setPointed,
  rowAt,
}: {
  readonly view: Signal<View>
  readonly day: View
  readonly width: number
  readonly seek: (atMs: number, isPassing: boolean) => void
  readonly fingers: { readonly current: Map<number, { x: number; isRuler: boolean }> }
  readonly setPointed: (pointed: Pointed | undefined) => void
  readonly rowAt: (y: number) => TimelineRow | undefined
}) {
  const placeOf = (event: PointerEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect()
    return { x: event.clientX - box.left, y: event.clientY - box.top }
  }
  const timeOf = (at: number) => clamp(timeAt(view.peek(), width, at), day.fromMs, day.toMs - 1)
  return {
    onPointerDown(event: PointerEvent) {
      if (event.button !== 0) return
      const { x, y } = placeOf(event)
      const target = event.currentTarget as HTMLElement
      target.setPointerCapture(event.pointerId)
      fingers.current.set(event.pointerId, { x, isRuler: y < RULER_PX && spanOf(view.peek()) < spanOf(day) })
      const [only] = [...fingers.current.values()]
      if (fingers.current.size === 1 && !only?.isRuler) seek(timeOf(x), true)
    },
    onPointerMove(event: PointerEvent) {
      const { x, y } = placeOf(event)
      setPointed({ x, row: rowAt(y) })
      const finger = fingers.current.get(event.pointerId)
      if (!finger) return
      if (fingers.current.size === 1) {
        if (finger.isRuler)
          view.value = moved(view.peek(), day, ((finger.x - x) / width) * spanOf(view.peek()))
        else seek(timeOf(x), true)
        finger.x = x
        return
      }
      const [a, b] = [...fingers.current.values()]
      if (!a || !b) return
      const before = Math.max(12, Math.abs(a.x - b.x))
      const middle = (a.x + b.x) / 2
      finger.x = x
      const after = Math.max(12, Math.abs(a.x - b.x))
      const around = timeAt(view.peek(), width, middle)
      const closer = zoomed(view.peek(), day, before / after, around)
      view.value = moved(closer, day, ((middle - (a.x + b.x) / 2) / width) * spanOf(closer))
    },
    onPointerUp(event: PointerEvent) {
      const finger = fingers.current.get(event.pointerId)
      fingers.current.delete(event.pointerId)
      if (finger && !finger.isRuler && fingers.current.size === 0) seek(timeOf(finger.x), false)
      if (event.pointerType !== 'mouse') setPointed(undefined)
    },
    onPointerCancel(event: PointerEvent) {
      fingers.current.delete(event.pointerId)
      setPointed(undefined)
    },
    onPointerLeave() {
      if (fingers.current.size === 0) setPointed(undefined)
    },
  }
}
