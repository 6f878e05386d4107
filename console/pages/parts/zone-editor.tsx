// biome-ignore-all lint/a11y/useSemanticElements: there is no button in SVG
// biome-ignore-all lint/a11y/noNoninteractiveTabindex: the picture is drawn on by key as well
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { style } from '../styles.ts'
import { murmur } from './said.tsx'
import { ZoneFields } from './zone-fields.tsx'
import {
  CORNERS_MAX,
  CORNERS_MIN,
  type DrawnZone,
  freeName,
  hueOf,
  middleOf,
  middleOfEdge,
  moved,
  type Point,
  pointAt,
  rectangle,
  withCorner,
  withCornerAfter,
  withoutCorner,
} from './zone-shape.ts'

await style('zones.css')

/**
 * Zones (or masks) drawn on a picture: with the mouse, with a finger, or with the keyboard alone. The picture is whatever
 * has an element `.screen-picture` in it (parts/last-picture.tsx, live-picture.tsx, scene-picture.tsx).
 */

const ZONES_MAX = 16
/** A click so near to the first corner closes what is drawn, pixels. */
const CLOSE_PX = 14
/** Of an arrow key, as a fraction of the picture; with Shift, with Alt. */
const STEP = 0.01
const STEP_LARGE = 0.05
const STEP_SMALL = 0.002
/** Of a face: how wide it is for its height. */
const FACE_ASPECT = 0.78
const ASPECT = 16 / 9

type Size = readonly [width: number, height: number]
type Picked = { readonly zone: number; readonly corner: number | undefined } | undefined

export function ZoneEditor<Zone extends DrawnZone>({
  picture,
  zones,
  onChange,
  make = (zone) => zone as Zone,
  isMask = false,
  zonesMax = ZONES_MAX,
  more,
  onNames,
}: {
  readonly picture: ComponentChildren
  readonly zones: readonly Zone[]
  readonly onChange: (zones: Zone[]) => void
  /** What a zone that has just been drawn has beside its name and corners. */
  readonly make?: (zone: DrawnZone) => Zone
  /** Masks have no names, sizes and times. */
  readonly isMask?: boolean
  readonly zonesMax?: number
  /** Further fields and buttons of a zone. */
  readonly more?: (zone: Zone, change: (zone: Zone) => void) => ComponentChildren
  /** A zone has another name: what speaks of it may follow. */
  readonly onNames?: (before: string, now: string) => void
}) {
  const stage = useRef<HTMLDivElement>(null)
  const [width, height] = useSize(stage)
  const aspect = useAspect(stage)
  const [picked, setPicked] = useState<Picked>(undefined)
  const [drawn, setDrawn] = useState<Point[] | undefined>(undefined)
  const [cross, setCross] = useState<Point>([0.5, 0.5])
  const drag = useRef<Drag | undefined>(undefined)
  const help = useId()
  const [one, many] = isMask ? ['mask', 'masks'] : ['zone', 'zones']
  const isFull = zones.length >= zonesMax
  const current = picked && zones[picked.zone]

  const change = (index: number, zone: Zone) => onChange(zones.map((old, at) => (at === index ? zone : old)))
  const shape = (index: number, points: Point[]) => {
    const zone = zones[index]
    if (zone) change(index, { ...zone, points })
  }
  const placeOf = (event: PointerEvent | MouseEvent): Point => {
    const box = stage.current?.getBoundingClientRect()
    return box
      ? pointAt((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height)
      : [0, 0]
  }
  const begin = () => {
    setPicked(undefined)
    setDrawn([])
    setCross([0.5, 0.5])
    murmur(`Drawing a ${one}. Arrow keys move the cross, Enter sets a corner, C closes.`)
    requestAnimationFrame(() => {
      stage.current?.scrollIntoView({ block: 'nearest' })
      stage.current?.querySelector<SVGElement>('.zones')?.focus({ preventScroll: true })
    })
  }
  const finish = (points: Point[]) => {
    setDrawn(undefined)
    if (points.length < CORNERS_MIN) return
    add(points)
  }
  const add = (points: Point[]) => {
    const name = freeName(
      `${one}-${zones.length + 1}`,
      zones.map((zone) => zone.name),
    )
    onChange([...zones, make({ name, points })])
    setPicked({ zone: zones.length, corner: undefined })
    murmur(`${isMask ? 'The mask' : name} is drawn.`)
  }
  const remove = (index: number) => {
    onChange(zones.toSpliced(index, 1))
    setPicked(undefined)
    murmur(`The ${one} is deleted.`)
    stage.current?.querySelector<SVGElement>('.zones')?.focus()
  }
  const addCorner = (point: Point) => {
    if (!drawn) return
    const [first] = drawn
    const isClosing =
      first !== undefined &&
      drawn.length >= CORNERS_MIN &&
      Math.hypot((first[0] - point[0]) * width, (first[1] - point[1]) * height) < CLOSE_PX
    const next = isClosing ? drawn : [...drawn, point]
    if (isClosing || next.length >= CORNERS_MAX) finish(next)
    else setDrawn(next)
  }

  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.shiftKey ? STEP_LARGE : event.altKey ? STEP_SMALL : STEP
    const by = ARROWS[event.key]
    const done = () => {
      event.preventDefault()
      event.stopPropagation()
    }
    if (drawn) {
      if (by) setCross(pointAt(cross[0] + by[0] * step, cross[1] + by[1] * step))
      else if (event.key === 'Enter' || event.key === ' ') addCorner(cross)
      else if (event.key === 'Backspace' || event.key === 'Delete') setDrawn(drawn.slice(0, -1))
      else if (event.key === 'c' || event.key === 'C') finish(drawn)
      else if (event.key === 'Escape') setDrawn(undefined)
      else return
      return done()
    }
    if (!picked || !current) return
    const { corner } = picked
    if (by) {
      const [dx, dy] = [by[0] * step, by[1] * step]
      if (corner === undefined) shape(picked.zone, moved(current.points, dx, dy))
      else {
        const [x, y] = current.points[corner] ?? [0, 0]
        shape(picked.zone, withCorner(current.points, corner, pointAt(x + dx, y + dy)))
      }
    } else if (event.key === 'Delete' || event.key === 'Backspace') {
      if (corner === undefined || current.points.length <= CORNERS_MIN) remove(picked.zone)
      else {
        shape(picked.zone, withoutCorner(current.points, corner))
        setPicked({ zone: picked.zone, corner: Math.max(0, corner - 1) })
      }
    } else if ((event.key === '+' || event.key === 'Insert') && corner !== undefined) {
      if (current.points.length < CORNERS_MAX) {
        shape(picked.zone, withCornerAfter(current.points, corner))
        setPicked({ zone: picked.zone, corner: corner + 1 })
      }
    } else if (event.key === 'Escape') setPicked(undefined)
    else return
    done()
  }

  // A corner that was picked by key has the focus as well.
  useEffect(() => {
    if (picked?.corner === undefined) return
    stage.current
      ?.querySelector<SVGElement>(`[data-corner="${picked.zone} ${picked.corner}"]`)
      ?.focus({ preventScroll: true })
  }, [picked?.zone, picked?.corner, current?.points.length])

  const grab = (event: PointerEvent, wanted: Drag) => {
    if (event.button !== 0 || drawn) return
    event.stopPropagation()
    event.preventDefault()
    const target = event.currentTarget as SVGElement
    target.closest('svg')?.setPointerCapture(event.pointerId)
    if (wanted.corner === undefined) target.focus({ preventScroll: true })
    drag.current = wanted
    setPicked({ zone: wanted.zone, corner: wanted.corner })
  }
  const onPointerMove = (event: PointerEvent) => {
    if (drawn) setCross(placeOf(event))
    const held = drag.current
    if (!held) return
    const at = placeOf(event)
    const points =
      held.corner === undefined
        ? moved(held.points, at[0] - held.from[0], at[1] - held.from[1])
        : withCorner(held.points, held.corner, at)
    shape(held.zone, points)
  }
  const release = () => {
    drag.current = undefined
  }

  const x = (value: number) => value * width
  const y = (value: number) => value * height
  const path = (points: readonly Point[]) => points.map(([px, py]) => `${x(px)},${y(py)}`).join(' ')
  return (
    <div class="zone-editor">
      <div class="zone-stage-frame">
        <p class="buttons">
          {drawn ? (
            <>
              <button
                type="button"
                class="button button-strong"
                disabled={drawn.length < CORNERS_MIN}
                onClick={() => finish(drawn)}
              >
                Close the {one}
              </button>
              <button
                type="button"
                class="button"
                disabled={drawn.length === 0}
                onClick={() => setDrawn(drawn.slice(0, -1))}
              >
                Take back a corner
              </button>
              <button type="button" class="button" onClick={() => setDrawn(undefined)}>
                Cancel
              </button>
            </>
          ) : (
            <>
              <button type="button" class="button" disabled={isFull} onClick={begin}>
                Draw a {one}
              </button>
              <button
                type="button"
                class="button"
                disabled={isFull}
                onClick={() => add(rectangle(0.3, 0.3, 0.7, 0.7))}
              >
                Add a rectangle
              </button>
              {picked?.corner !== undefined && current && (
                <button
                  type="button"
                  class="button"
                  disabled={current.points.length <= CORNERS_MIN}
                  onClick={() => {
                    shape(picked.zone, withoutCorner(current.points, picked.corner ?? 0))
                    setPicked({ zone: picked.zone, corner: undefined })
                  }}
                >
                  Delete the corner
                </button>
              )}
            </>
          )}
        </p>
        <div ref={stage} class="zone-stage" style={{ '--aspect': String(aspect) }}>
          {picture}
          {width > 0 && (
            <svg
              class="zones"
              data-drawing={drawn ? '' : undefined}
              data-holding={drag.current ? '' : undefined}
              width={width}
              height={height}
              tabindex={0}
              role="application"
              aria-label={
                drawn ? `Drawing a ${one}: ${drawn.length} corners` : `Picture with ${zones.length} ${many}`
              }
              aria-describedby={help}
              onKeyDown={onKeyDown}
              onPointerMove={onPointerMove}
              onPointerUp={release}
              onPointerCancel={release}
              // Not when it is clicked: a click that ends a drag is the picture's too.
              onPointerDown={(event) => {
                if (!drawn && event.target === event.currentTarget) setPicked(undefined)
              }}
              onClick={(event) => drawn && addCorner(placeOf(event))}
              onDblClick={() => drawn && finish(drawn)}
            >
              {zones.map((zone, index) => {
                const isPicked = picked?.zone === index
                const [mx, my] = middleOf(zone.points)
                return (
                  <g
                    key={index}
                    class={`zone${isMask ? ' zone-mask' : ''}`}
                    data-picked={isPicked ? '' : undefined}
                    style={{ '--hue': String(hueOf(zone.name)) }}
                  >
                    <polygon
                      class="zone-area"
                      points={path(zone.points)}
                      tabindex={drawn ? -1 : 0}
                      role="button"
                      aria-pressed={isPicked}
                      aria-label={`${isMask ? `Mask ${index + 1}` : `Zone ${zone.name}`}, ${zone.points.length} corners`}
                      onFocus={() =>
                        (!isPicked || picked?.corner !== undefined) &&
                        setPicked({ zone: index, corner: undefined })
                      }
                      onPointerDown={(event) =>
                        grab(event, {
                          zone: index,
                          corner: undefined,
                          points: zone.points,
                          from: placeOf(event),
                        })
                      }
                    />
                    {!isMask && (
                      <text class="zone-name" x={x(mx)} y={y(my)}>
                        {zone.name}
                      </text>
                    )}
                    {isPicked && !isMask && <Sizes zone={zone} at={[x(mx), y(my)]} frame={[width, height]} />}
                    {isPicked &&
                      !drawn &&
                      zone.points.length < CORNERS_MAX &&
                      zone.points.map((_, corner) => {
                        const [ex, ey] = middleOfEdge(zone.points, corner)
                        return (
                          <g
                            key={`edge ${corner}`}
                            class="zone-edge"
                            transform={`translate(${x(ex)} ${y(ey)})`}
                            onPointerDown={(event) => {
                              const points = withCornerAfter(zone.points, corner)
                              shape(index, points)
                              grab(event, { zone: index, corner: corner + 1, points, from: placeOf(event) })
                            }}
                          >
                            <circle class="zone-touch" r="16" />
                            <circle class="zone-edge-dot" r="4.5" />
                          </g>
                        )
                      })}
                    {isPicked &&
                      !drawn &&
                      zone.points.map(([px, py], corner) => (
                        <g
                          key={`corner ${corner}`}
                          class="zone-corner"
                          data-corner={`${index} ${corner}`}
                          data-picked={picked?.corner === corner ? '' : undefined}
                          transform={`translate(${x(px)} ${y(py)})`}
                          tabindex={0}
                          role="button"
                          aria-label={`Corner ${corner + 1} of ${zone.points.length}, ${percent(px)} from the left, ${percent(py)} from the top`}
                          onFocus={() => picked?.corner !== corner && setPicked({ zone: index, corner })}
                          onPointerDown={(event) =>
                            grab(event, { zone: index, corner, points: zone.points, from: placeOf(event) })
                          }
                        >
                          <circle class="zone-touch" r="20" />
                          <circle class="zone-corner-dot" r="6.5" />
                        </g>
                      ))}
                  </g>
                )
              })}
              {drawn && (
                <g class="zone zone-drawn">
                  <polyline points={path([...drawn, cross])} />
                  {drawn.map(([px, py], corner) => (
                    <circle
                      key={`${corner} ${px} ${py}`}
                      class="zone-corner-dot"
                      cx={x(px)}
                      cy={y(py)}
                      r={corner === 0 && drawn.length >= CORNERS_MIN ? 9 : 5.5}
                    />
                  ))}
                  <path
                    class="zone-cross"
                    d={`M${x(cross[0]) - 9} ${y(cross[1])}h18M${x(cross[0])} ${y(cross[1]) - 9}v18`}
                  />
                </g>
              )}
            </svg>
          )}
        </div>
        <p class="zone-help" id={help}>
          {drawn
            ? drawn.length < CORNERS_MIN
              ? 'Click or tap the corners one after the other. By key: arrows and Enter.'
              : 'Click the first corner again to close it, or press C. Backspace takes the last corner back.'
            : current
              ? 'Drag a corner, or move it with the arrow keys. Small dots add a corner, Delete removes one.'
              : zones.length > 0
                ? `Click a ${one} to change it.`
                : `No ${many} yet. Draw the first one on the picture.`}
        </p>
      </div>
      {zones.length > 0 && (
        <ul class="zone-list" aria-label={isMask ? 'Masks' : 'Zones'}>
          {zones.map((zone, index) => (
            <li key={index}>
              <ZoneFields
                zone={zone}
                number={index + 1}
                isMask={isMask}
                isPicked={picked?.zone === index}
                others={zones.filter((_, at) => at !== index).map(({ name }) => name)}
                pick={() => picked?.zone !== index && setPicked({ zone: index, corner: undefined })}
                change={(next) => {
                  change(index, next)
                  if (next.name !== zone.name) onNames?.(zone.name, next.name)
                }}
                remove={() => remove(index)}
              >
                {more?.(zone, (next) => change(index, next))}
              </ZoneFields>
            </li>
          ))}
        </ul>
      )}
    </div>
  )
}

interface Drag {
  readonly zone: number
  readonly corner: number | undefined
  readonly points: Point[]
  readonly from: Point
}

const ARROWS: Readonly<Record<string, Point | undefined>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
}

const percent = (share: number) => `${Math.round(share * 100)} %`

/** The smallest and the largest face that counts, as boxes. */
function Sizes({
  zone: { sizeMin, sizeMax },
  at: [x, y],
  frame: [, height],
}: {
  readonly zone: DrawnZone
  readonly at: Point
  readonly frame: Size
}) {
  return (
    <>
      {[sizeMin, sizeMax].map((size, index) => {
        if (size === undefined) return null
        const tall = size * height
        return (
          <rect
            key={index}
            class="zone-size"
            x={x - (tall * FACE_ASPECT) / 2}
            y={y - tall / 2}
            width={tall * FACE_ASPECT}
            height={tall}
            rx="3"
          />
        )
      })}
    </>
  )
}

function useSize(of: { readonly current: HTMLElement | null }): Size {
  const [size, set] = useState<Size>([0, 0])
  useEffect(() => {
    const element = of.current
    if (!element) return
    const look = () => set([element.clientWidth, element.clientHeight])
    const observer = new ResizeObserver(look)
    observer.observe(element)
    look()
    return () => observer.disconnect()
  }, [])
  return size
}

/** The picture's own shape, so that nothing is left free beside it: corners are fractions of the picture. */
function useAspect(of: { readonly current: HTMLElement | null }): number {
  const [aspect, set] = useState(ASPECT)
  useEffect(() => {
    const element = of.current
    if (!element) return
    const look = () => {
      const picture = element.querySelector('.screen-picture:not(.screen-face)')
      const [width, height] =
        picture instanceof HTMLImageElement
          ? [picture.naturalWidth, picture.naturalHeight]
          : picture instanceof HTMLCanvasElement && picture.hasAttribute('width')
            ? [picture.width, picture.height]
            : [0, 0]
      if (width > 0 && height > 0) set(width / height)
    }
    // What is loaded does not bubble; a canvas says its size by an attribute.
    element.addEventListener('load', look, true)
    const observer = new MutationObserver(look)
    observer.observe(element, { childList: true, subtree: true, attributeFilter: ['width', 'height'] })
    look()
    return () => {
      element.removeEventListener('load', look, true)
      observer.disconnect()
    }
  }, [])
  return aspect
}
