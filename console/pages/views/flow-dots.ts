import { effect, signal } from '@preact/signals'

/** Dots that go along the links, one for each crop or clip that is handed on, up to so many that they can be told apart. */

const SPEED_PX_PER_S = 90
const DOTS_PER_S_MAX = 6
const SVG = 'http://www.w3.org/2000/svg'

export interface Lane {
  readonly path: SVGPathElement
  readonly perS: number
  readonly kind: 'crops' | 'clips'
}

const stillness = matchMedia('(prefers-reduced-motion: reduce)')
export const isStill = signal(stillness.matches)
stillness.addEventListener('change', () => {
  isStill.value = stillness.matches
})

interface Dot {
  readonly element: SVGElement
  readonly lane: Lane
  at: number
}

/** @param lanes asked at each frame: rates change while dots are on their way. @returns ends it */
export function moveDots(layer: SVGGElement, lanes: () => readonly Lane[]): () => void {
  const dots = new Set<Dot>()
  const spare: Record<Lane['kind'], SVGElement[]> = { crops: [], clips: [] }
  /** By path: how much of a dot is due. */
  const due: Record<Lane['kind'], Map<SVGPathElement, number>> = { crops: new Map(), clips: new Map() }
  let frame = 0
  let before = performance.now()
  const step = (now: number) => {
    frame = requestAnimationFrame(step)
    // A page that was hidden does not catch up.
    const seconds = Math.min(0.1, (now - before) / 1000)
    before = now
    for (const lane of lanes()) {
      const owed =
        (due[lane.kind].get(lane.path) ?? Math.random()) + Math.min(DOTS_PER_S_MAX, lane.perS) * seconds
      due[lane.kind].set(lane.path, owed % 1)
      if (owed >= 1) {
        const element = spare[lane.kind].pop() ?? drawn(lane.kind)
        layer.append(element)
        dots.add({ element, lane, at: 0 })
      }
    }
    for (const dot of dots) {
      dot.at += SPEED_PX_PER_S * seconds
      if (!dot.lane.path.isConnected || dot.at >= dot.lane.path.getTotalLength()) {
        dot.element.remove()
        spare[dot.lane.kind].push(dot.element)
        dots.delete(dot)
        continue
      }
      const { x, y } = dot.lane.path.getPointAtLength(dot.at)
      dot.element.setAttribute('transform', `translate(${x.toFixed(1)} ${y.toFixed(1)})`)
    }
  }
  const end = effect(() => {
    if (isStill.value) {
      cancelAnimationFrame(frame)
      for (const { element } of dots) element.remove()
      dots.clear()
    } else {
      before = performance.now()
      frame = requestAnimationFrame(step)
    }
  })
  return () => {
    end()
    cancelAnimationFrame(frame)
    for (const { element } of dots) element.remove()
  }
}

/** A crop is round, a clip is long. */
function drawn(kind: Lane['kind']): SVGElement {
  if (kind === 'crops') {
    const circle = document.createElementNS(SVG, 'circle')
    circle.setAttribute('r', '3')
    return circle
  }
  const rect = document.createElementNS(SVG, 'rect')
  for (const [name, value] of Object.entries({ x: '-6', y: '-3', width: '12', height: '6', rx: '1.5' }))
    rect.setAttribute(name, value)
  return rect
}
