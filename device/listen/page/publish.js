import { cameraFault, holdAwake, Publisher, whyNoCamera } from './publisher.js'

const FIGURES_MS = 1000

const at = (id) => document.getElementById(id)
const [form, start, stop, preview, fault] = ['form', 'start', 'stop', 'preview', 'fault'].map(at)

/** While it publishes. */
let running

const WORDS = {
  connecting: () => 'Connecting …',
  live: () => 'Live',
  reconnecting: ({ why }) => `${why} Trying again …`,
  refused: ({ why }) => why,
  stopped: () => 'Not publishing',
}

function show(state) {
  at('state').dataset.state = state.is
  at('state-text').textContent = WORDS[state.is](state)
  const isOver = state.is === 'stopped' || state.is === 'refused'
  start.hidden = !isOver
  stop.hidden = isOver
  if (isOver) finish()
}

function complain(text) {
  fault.hidden = text === undefined
  fault.textContent = text ?? ''
}

async function begin() {
  complain(undefined)
  start.disabled = true
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: at('camera').value, width: { ideal: 1280 }, height: { ideal: 720 } },
      audio: at('sound').checked,
    })
    preview.srcObject = stream
    preview.hidden = false
    const publisher = new Publisher({
      url: new URL('whip', location.href).href,
      key: at('key').value.trim(),
      stream,
      onState: show,
    })
    running = { stream, publisher, awake: holdAwake(), timer: setInterval(figures, FIGURES_MS) }
    publisher.start()
  } catch (error) {
    complain(cameraFault(error))
  } finally {
    start.disabled = false
  }
}

async function figures() {
  const stats = await running?.publisher.stats()
  at('figures').textContent = stats
    ? `${stats.codec} ${stats.width} x ${stats.height}, ${stats.framesPerSecond} frames/s, ${(stats.bitsPerSecond / 1e6).toFixed(2)} Mbit/s`
    : ''
}

function finish() {
  if (!running) return
  clearInterval(running.timer)
  running.awake.release()
  for (const track of running.stream.getTracks()) track.stop()
  running = undefined
  preview.hidden = true
  preview.srcObject = null
  at('figures').textContent = ''
}

// A link may bring the key in its fragment, which no server sees. It does not stay in the address.
const given = new URLSearchParams(location.hash.slice(1)).get('key')
if (given) {
  at('key').value = given
  history.replaceState(null, '', location.pathname)
}

const why = whyNoCamera()
complain(why)
start.disabled = why !== undefined
form.addEventListener('submit', (event) => {
  event.preventDefault()
  void begin()
})
stop.addEventListener('click', () => running?.publisher.stop())
addEventListener('pagehide', () => running?.publisher.stop())
