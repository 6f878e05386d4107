import { placeLabels } from './labels.js'
import { pictures } from './stream.js'

/**
 * The live preview: the state of all cameras, asked for every two seconds, and the stream of the one that is chosen.
 * One stream at a time: browsers open few connections to one address. A picture and the boxes of its faces are drawn at
 * the same moment.
 */

const POLL_MS = 2000
const AGAIN_MS = 2000
/** An agent that has not answered for so long does not answer. */
const ANSWER_MS_MAX = 5000
const STREAM = 'preview/'
/** What the camera's effect does to the picture. */
const HIDDEN = { pixelate: 'faces hidden', outline: 'outlines only' }
/** Of a face's id, its end: the beginning is the time. */
const TRACK_DIGITS = 4

const element = (id) => document.getElementById(id)
const [
  where,
  state,
  stateText,
  count,
  cameras,
  picture,
  stream,
  zones,
  zoneNames,
  faces,
  note,
  noteTitle,
  noteText,
] = [
  'where',
  'state',
  'state-text',
  'count',
  'cameras',
  'picture',
  'stream',
  'zones',
  'zone-names',
  'faces',
  'note',
  'note-title',
  'note-text',
].map(element)

/** What the agent said last; undefined while it does not answer. */
let known
/** The camera whose stream is asked for, undefined where none is. */
let streaming
/** Ends that stream. */
let ending
/** Whether its first picture has come. */
let seen = false
/** Why there is no stream, in the agent's words. */
let refused = ''
/** What the newest picture shows. */
let found = []
let timer

/** The one in the address, or the first. */
function chosen() {
  const wanted = decodeURIComponent(location.hash.slice(1))
  return known?.cameras.find(({ name }) => name === wanted) ?? known?.cameras[0]
}

async function poll() {
  clearTimeout(timer)
  try {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX)
    const answer = await fetch(`${STREAM}state.json`, { cache: 'no-store', signal })
    if (!answer.ok) throw new Error(String(answer.status))
    known = await answer.json()
  } catch {
    known = undefined
  }
  render()
  clearTimeout(timer)
  timer = setTimeout(poll, POLL_MS)
}

function render() {
  const camera = chosen()
  const shows = camera !== undefined && !camera.paused && (camera.state === 'up' || camera.state === 'ended')
  follow(shows && !document.hidden ? camera.name : undefined)
  if (known) where.textContent = known.title
  drawZones(camera?.zones ?? [])
  renderCameras(camera)
  const is = camera === undefined ? 'down' : camera.paused ? 'paused' : camera.state
  state.dataset.state = is
  stateText.textContent = words(camera, is)
  picture.dataset.state = is
  stream.setAttribute('aria-label', camera ? `The live picture of ${camera.name}` : 'The live picture')
  document.title = camera ? `${camera.name}, Preview, Sightline` : 'Preview, Sightline'
  const [title, text] = explain(camera, is)
  noteTitle.textContent = title
  noteText.textContent = text
  note.hidden = title === ''
}

function words(camera, is) {
  if (camera === undefined) return 'The agent does not answer'
  const hidden = HIDDEN[camera.effect]
  return `${camera.name}: ${is === 'up' ? 'live' : is}${hidden ? `, ${hidden}` : ''}`
}

/** What stands in the picture's place; nothing while there is one. */
function explain(camera, is) {
  if (camera === undefined) return ['The agent does not answer', 'This page reconnects automatically.']
  if (is === 'paused')
    return ['Paused', 'This camera detects, publishes and shows nothing until it is resumed.']
  if (is === 'down') return ['This camera is down', camera.why ?? '']
  if (is === 'opening') return ['Opening the camera', '']
  if (refused !== '') return ['No picture', refused]
  // The last picture would look as if nothing happened any more.
  if (camera.hidden) return ['No picture: a plugin does not change it', camera.hidden]
  if (seen) return ['', '']
  if (is === 'ended') return ['The source has ended', '']
  return ['Waiting for the picture', '']
}

/** Kept as they are, so that the keyboard stays where it is. */
const links = new Map()
function renderCameras(current) {
  const all = known?.cameras ?? []
  cameras.hidden = all.length < 2
  if (all.length !== links.size || !all.every(({ name }) => links.has(name))) {
    links.clear()
    for (const { name } of all) links.set(name, linkTo(name))
    cameras.replaceChildren(...links.values())
  }
  for (const { name, state, paused } of all) {
    const link = links.get(name)
    link.dataset.state = paused ? 'paused' : state
    link.setAttribute('aria-current', String(name === current?.name))
  }
}

function linkTo(name) {
  const link = document.createElement('a')
  link.className = 'camera'
  link.href = `#${encodeURIComponent(name)}`
  const dot = document.createElement('span')
  dot.className = 'dot'
  link.append(dot, name)
  return link
}

/** Asks for a camera's stream, or ends the one there is. */
function follow(name) {
  if (name === streaming) return
  ending?.abort()
  ending = undefined
  streaming = name
  seen = false
  refused = ''
  stream.width = 0 // and nothing is left of what it showed
  drawFaces([])
  if (name !== undefined) void show(name)
}

async function show(name) {
  const mine = new AbortController()
  ending = mine
  let why = 'The stream has ended.'
  try {
    const answer = await fetch(`${STREAM}${encodeURIComponent(name)}.mjpeg`, {
      cache: 'no-store',
      signal: mine.signal,
    })
    if (!answer.ok) why = (await answer.text()).trim()
    else
      for await (const { jpeg, faces } of pictures(answer.body)) {
        const bitmap = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }))
        if (mine.signal.aborted) return
        draw(bitmap, faces)
      }
  } catch {
    if (mine.signal.aborted) return
  }
  if (mine.signal.aborted) return
  seen = false
  refused = why
  void poll() // it may be the agent that is gone
  setTimeout(() => {
    if (ending !== mine) return
    follow(undefined)
    render()
  }, AGAIN_MS)
}

function draw(bitmap, seenFaces) {
  const { width, height } = bitmap
  if (stream.width !== width || stream.height !== height) {
    stream.width = width
    stream.height = height
    picture.style.setProperty('--ratio', String(width / height))
  }
  stream.getContext('2d').drawImage(bitmap, 0, 0)
  bitmap.close()
  const isFirst = !seen
  seen = true
  drawFaces(seenFaces)
  if (isFirst) render()
}

const SVG = 'http://www.w3.org/2000/svg'
/** What is drawn, so that it is drawn anew only when it changes. */
let zonesDrawn = ''

/** Thin outlines; each name stands at the corner that is highest. */
function drawZones(all) {
  const text = JSON.stringify(all)
  if (text === zonesDrawn) return
  zonesDrawn = text
  const drawn = all.map(({ name, points }) => {
    const outline = document.createElementNS(SVG, 'polygon')
    outline.setAttribute('points', points.map((point) => point.join(',')).join(' '))
    const label = document.createElement('span')
    label.className = 'zone-name'
    label.textContent = name
    const [x, y] = points.reduce((highest, it) => (it[1] < highest[1] ? it : highest))
    // At the right the name grows to the left.
    Object.assign(label.style, x > 0.5 ? { right: `${(1 - x) * 100}%` } : { left: `${x * 100}%` }, {
      top: `${Math.min(y, 0.96) * 100}%`,
    })
    return { outline, label }
  })
  zones.replaceChildren(...drawn.map(({ outline }) => outline))
  zoneNames.replaceChildren(...drawn.map(({ label }) => label))
}

const boxes = []
function boxAt(index) {
  boxes[index] ??= (() => {
    const box = document.createElement('div')
    const label = document.createElement('span')
    box.className = 'face'
    label.className = 'label'
    return { box, label }
  })()
  return boxes[index]
}

/** The surest choose their labels' places first. */
function drawFaces(seenFaces) {
  found = seenFaces.toSorted((a, b) => b.sure - a.sure || b.score - a.score)
  const drawn = found.map(({ box: [left, top, width, height], score, sure, track }, index) => {
    const { box, label } = boxAt(index)
    Object.assign(box.style, {
      left: `${left * 100}%`,
      top: `${top * 100}%`,
      width: `${width * 100}%`,
      height: `${height * 100}%`,
    })
    const kind = sure ? 'sure' : 'doubtful'
    box.dataset.kind = kind
    label.dataset.kind = kind
    label.textContent = score.toFixed(2) + (track ? ` ${track.slice(-TRACK_DIGITS)}` : '')
    return { box, label }
  })
  // Not in the words on the state, which are read out at each change.
  const sure = found.filter((it) => it.sure).length
  count.textContent = seen ? `${sure} ${sure === 1 ? 'face' : 'faces'}` : ''
  faces.replaceChildren(...drawn.map(({ box }) => box), ...drawn.map(({ label }) => label))
  placeAll(drawn)
}

function placeAll(drawn) {
  const area = { width: faces.clientWidth, height: faces.clientHeight }
  const labels = drawn.map(({ label }, index) => {
    const [left, top, width, height] = found[index].box
    return {
      box: [left * area.width, top * area.height, width * area.width, height * area.height],
      width: label.offsetWidth,
      height: label.offsetHeight,
    }
  })
  for (const [index, place] of placeLabels(labels, area).entries()) {
    const { label } = drawn[index]
    label.style.visibility = place ? '' : 'hidden'
    if (place) label.style.translate = `${place.left}px ${place.top}px`
  }
}
new ResizeObserver(() => placeAll(boxes.slice(0, found.length))).observe(faces)

addEventListener('hashchange', render)
document.addEventListener('visibilitychange', render)
void poll()
