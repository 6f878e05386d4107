import { effect, signal } from '@preact/signals'

/** Dots that go along the links, one for each crop that is handed on, up to so many that they can be told apart. */

const SPEED_PX_PER_S = 90
const DOTS_PER_S_MAX = 6
const SVG = 'http://www.w3.org/2000/svg'

export interface Lane {
  readonly path: SVGPathElement
  readonly perS: number
}

const stillness = matchMedia('(prefers-reduced-motion: reduce)')
export const isStill = signal(stillness.matches)
stillness.addEventListener('change', () => {
  isStill.value = stillness.matches
})

interface Dot {
  readonly element: SVGCircleElement
  readonly lane: Lane
  at: number
}

/** @param lanes asked at each frame: rates change while dots are on their way. @returns ends it */
export function moveDots(layer: SVGGElement, lanes: () => readonly Lane[]): () => void {
  const dots = new Set<Dot>()
  const spare: SVGCircleElement[] = []
  /** By path: how much of a dot is due. */
  const due = new Map<SVGPathElement, number>()
  let frame = 0
  let before = performance.now()
  const step = (now: number) => {
    frame = requestAnimationFrame(step)
    // A page that was hidden does not catch up.
    const seconds = Math.min(0.1, (now - before) / 1000)
    before = now
    for (const lane of lanes()) {
      const owed = (due.get(lane.path) ?? Math.random()) + Math.min(DOTS_PER_S_MAX, lane.perS) * seconds
      due.set(lane.path, owed % 1)
      if (owed >= 1) {
        const element = spare.pop() ?? document.createElementNS(SVG, 'circle')
        element.setAttribute('r', '3')
        layer.append(element)
        dots.add({ element, lane, at: 0 })
      }
    }
    for (const dot of dots) {
      dot.at += SPEED_PX_PER_S * seconds
      if (!dot.lane.path.isConnected || dot.at >= dot.lane.path.getTotalLength()) {
        dot.element.remove()
        spare.push(dot.element)
        dots.delete(dot)
        continue
      }
      const { x, y } = dot.lane.path.getPointAtLength(dot.at)
      dot.element.setAttribute('cx', x.toFixed(1))
      dot.element.setAttribute('cy', y.toFixed(1))
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
