/** Where the labels of boxes stand, so that each can be read. Pure: pixels in, pixels out. */

/** Between a label and its box, pixels. */
const GAP = 2

/**
 * A place for each label: beside its box and inside the picture, over no other label, and over another face only where there
 * is no other room. The first boxes choose first. Undefined for one that finds no place.
 * @param {readonly {box: readonly number[], width: number, height: number}[]} labels each with its box (left, top, width,
 *   height)
 * @param {{width: number, height: number}} area
 * @returns {({left: number, top: number} | undefined)[]}
 */
export function placeLabels(labels, area) {
  const placed = []
  return labels.map((label) => {
    const places = candidates(label, area).filter((place) => !placed.some((other) => overlap(place, other)))
    const isClear = (place) => labels.every((other) => other === label || !overlap(place, boxOf(other)))
    const place = places.find(isClear) ?? places[0]
    if (!place) return undefined
    placed.push(place)
    return { left: place.left, top: place.top }
  })
}

/** The best first: above, below, beside, and at last inside. */
function candidates({ box: [left, top, wide, high], width, height }, area) {
  const right = left + wide
  const bottom = top + high
  const x = (at) => Math.max(0, Math.min(at, area.width - width))
  const places = [
    [x(left), top - height - GAP],
    [x(right - width), top - height - GAP],
    [x(left), bottom + GAP],
    [x(right - width), bottom + GAP],
    [right + GAP, top],
    [left - width - GAP, top],
    [right + GAP, bottom - height],
    [left - width - GAP, bottom - height],
    [x(left + GAP), Math.max(0, top + GAP)],
    [x(left + GAP), Math.min(area.height, bottom) - height - GAP],
  ]
  return places
    .map(([at, from]) => ({ left: at, top: from, width, height }))
    .filter(
      (it) => it.left >= 0 && it.top >= 0 && it.left + width <= area.width && it.top + height <= area.height,
    )
}

const boxOf = ({ box: [left, top, width, height] }) => ({ left, top, width, height })
const overlap = (a, b) =>
  a.left < b.left + b.width &&
  b.left < a.left + a.width &&
  a.top < b.top + b.height &&
  b.top < a.top + a.height
