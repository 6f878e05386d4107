/**
 * The live preview: the state of all cameras, asked for every two seconds, and the stream of the one that is chosen.
 * One stream at a time: browsers open few connections to one address.
 */

const POLL_MS = 2000
const AGAIN_MS = 2000
const LOOK_MS = 100
const STREAM = 'preview/'

const element = (id) => document.getElementById(id)
const [where, state, stateText, cameras, picture, stream, note, noteTitle, noteText] = [
  'where',
  'state',
  'state-text',
  'cameras',
  'picture',
  'stream',
  'note',
  'note-title',
  'note-text',
].map(element)

/** What the agent said last; undefined while it does not answer. */
let known
/** The camera whose stream is asked for, undefined where none is. */
let streaming
/** Whether its first picture has come. */
let seen = false
/** Makes each request for a stream its own address: browsers join equal ones. */
let count = 0

/** The one in the address, or the first. */
function chosen() {
  const wanted = decodeURIComponent(location.hash.slice(1))
  return known?.cameras.find(({ name }) => name === wanted) ?? known?.cameras[0]
}

async function poll() {
  try {
    const answer = await fetch(`${STREAM}state.json`, { cache: 'no-store' })
    if (!answer.ok) throw new Error(String(answer.status))
    known = await answer.json()
  } catch {
    known = undefined
  }
  render()
  setTimeout(poll, POLL_MS)
}

function render() {
  const camera = chosen()
  const shows = camera !== undefined && !camera.paused && (camera.state === 'up' || camera.state === 'ended')
  follow(shows && !document.hidden ? camera.name : undefined)
  if (known) where.textContent = known.title
  renderCameras(camera)
  const is = camera === undefined ? 'down' : camera.paused ? 'paused' : camera.state
  state.dataset.state = is
  stateText.textContent = words(camera, is)
  picture.dataset.state = is
  stream.alt = camera ? `The live picture of ${camera.name}` : ''
  const [title, text] = explain(camera, is)
  noteTitle.textContent = title
  noteText.textContent = text
  note.hidden = title === ''
}

function words(camera, is) {
  if (camera === undefined) return 'The agent does not answer'
  if (is !== 'up') return `${camera.name}: ${is}`
  const faces = camera.faces === null ? '' : `, ${camera.faces} ${camera.faces === 1 ? 'face' : 'faces'}`
  return `${camera.name}: live${faces}`
}

/** What stands in the picture's place; nothing while there is one. */
function explain(camera, is) {
  if (camera === undefined)
    return ['The agent does not answer', 'This page goes on by itself when it is back.']
  if (is === 'paused')
    return ['Paused', 'Nothing of this camera is detected, published or shown until it is resumed.']
  if (is === 'down') return ['This camera is down', camera.why ?? '']
  if (is === 'opening') return ['Opening the camera', '']
  if (seen) return ['', '']
  if (is === 'ended') return ['The source has ended', '']
  return ['Waiting for the picture', '']
}

function renderCameras(current) {
  cameras.hidden = (known?.cameras.length ?? 0) < 2
  cameras.replaceChildren(
    ...(known?.cameras ?? []).map(({ name, state, paused }) => {
      const link = document.createElement('a')
      link.className = 'camera'
      link.href = `#${encodeURIComponent(name)}`
      link.dataset.state = paused ? 'paused' : state
      link.setAttribute('aria-current', String(name === current?.name))
      const dot = document.createElement('span')
      dot.className = 'dot'
      link.append(dot, name)
      return link
    }),
  )
}

/** Asks for a camera's stream, or ends the one there is. */
function follow(name) {
  if (name === streaming) return
  streaming = name
  seen = false
  if (name === undefined) stream.removeAttribute('src')
  else {
    count += 1
    stream.src = `${STREAM}${encodeURIComponent(name)}.mjpeg?${count}`
  }
}

/** Not every browser says that a stream's first picture has come: looked at until it has. */
function look() {
  const { naturalWidth, naturalHeight } = stream
  if (streaming !== undefined && !seen && naturalWidth > 0) {
    seen = true
    picture.style.aspectRatio = `${naturalWidth} / ${naturalHeight}`
    render()
  }
}
stream.addEventListener('error', () => {
  if (streaming === undefined) return
  seen = false
  noteTitle.textContent = 'No picture'
  noteText.textContent = 'The stream was refused: perhaps too many people look at the moment.'
  note.hidden = false
  setTimeout(() => {
    streaming = undefined
    render()
  }, AGAIN_MS)
})
setInterval(look, LOOK_MS)
addEventListener('hashchange', render)
document.addEventListener('visibilitychange', render)
void poll()
