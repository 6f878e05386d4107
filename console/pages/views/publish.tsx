import { useEffect, useRef, useState } from 'preact/hooks'
import {
  cameraFault,
  holdAwake,
  Publisher,
  type PublisherState,
  type PublisherStats,
  whyNoCamera,
} from 'sightline/publisher'
import { useEvery } from '../loaded.ts'
import { nowMs } from '../now.ts'
import { style } from '../styles.ts'
import { bitrate, duration } from '../words.ts'

await style('publish.css')

/** This browser as a camera: its picture and sound to an agent, over WHIP. */

const STATS_MS = 1000
const OTHER = ''

interface Address {
  readonly name: string
  readonly url: string
}

const ADDRESSES = JSON.parse(
  document.querySelector<HTMLMetaElement>('meta[name="sightline-publish"]')?.content ?? '[]',
) as readonly Address[]

interface Running {
  readonly publisher: Publisher
  readonly stream: MediaStream
  readonly awake: { release(): void }
}

export default function PublishPage() {
  const [to, setTo] = useState(ADDRESSES[0]?.url ?? OTHER)
  const [key, setKey] = useState('')
  const [facing, setFacing] = useState('environment')
  const [hasSound, setSound] = useState(false)
  const [state, setState] = useState<PublisherState>({ is: 'stopped' })
  const [stats, setStats] = useState<PublisherStats | undefined>(undefined)
  const [fault, setFault] = useState<string | undefined>(whyNoCamera)
  const [isOpening, setOpening] = useState(false)
  const running = useRef<Running | undefined>(undefined)
  const preview = useRef<HTMLVideoElement>(null)

  const finish = () => {
    const it = running.current
    running.current = undefined
    it?.awake.release()
    for (const track of it?.stream.getTracks() ?? []) track.stop()
    if (preview.current) preview.current.srcObject = null
    setStats(undefined)
  }

  async function openCamera(facingMode: string, audio: boolean): Promise<MediaStream> {
    const video = { facingMode, width: { ideal: 1280 }, height: { ideal: 720 } }
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio })
    if (preview.current) preview.current.srcObject = stream
    return stream
  }

  async function start(): Promise<void> {
    setFault(undefined)
    setOpening(true)
    try {
      const stream = await openCamera(facing, hasSound)
      const onState = (next: PublisherState) => {
        setState(next)
        if (next.is === 'stopped' || next.is === 'refused') finish()
      }
      const publisher = new Publisher({ url: to, key: key.trim(), stream, onState })
      running.current = { publisher, stream, awake: holdAwake() }
      publisher.start()
    } catch (error) {
      setFault(cameraFault(error))
    }
    setOpening(false)
  }

  /** While it publishes, the other camera takes over in the same session. A phone opens one at a time. */
  async function turn(next: string): Promise<void> {
    setFacing(next)
    const it = running.current
    if (!it) return
    try {
      for (const track of it.stream.getTracks()) track.stop()
      const stream = await openCamera(next, hasSound)
      running.current = { ...it, stream }
      await it.publisher.replace(stream)
    } catch (error) {
      setFault(cameraFault(error))
      void it.publisher.stop()
    }
  }

  useEvery(STATS_MS, () => void running.current?.publisher.stats().then(setStats))
  useEffect(() => {
    const leave = () => void running.current?.publisher.stop()
    addEventListener('pagehide', leave)
    return () => {
      removeEventListener('pagehide', leave)
      leave()
      finish()
    }
  }, [])

  const isOver = state.is === 'stopped' || state.is === 'refused'
  const cannot = whyNoCamera() !== undefined
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Publish</h1>
          <p class="page-sub">The camera of this device becomes a camera of Sightline.</p>
        </div>
      </header>
      {fault !== undefined && (
        <p class="failed" role="alert">
          {fault}
        </p>
      )}
      <div class="publish">
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault()
            void start()
          }}
        >
          <label class="field">
            <span>Agent</span>
            <select
              value={to}
              disabled={!isOver}
              onChange={({ currentTarget }) => setTo(currentTarget.value)}
            >
              {ADDRESSES.map(({ name, url }) => (
                <option key={url} value={url}>
                  {name}
                </option>
              ))}
              {ADDRESSES.length === 0 && <option value={OTHER}>None</option>}
            </select>
          </label>
          {ADDRESSES.length === 0 && (
            <p class="muted">
              The settings of this console name no agent to publish to: <code>publish</code>. Or open the
              address of the agent itself, its port for WHIP, where this page is too.
            </p>
          )}
          <label class="field">
            <span>Stream key</span>
            <input
              type="password"
              required
              maxLength={100}
              autocomplete="off"
              spellcheck={false}
              value={key}
              disabled={!isOver}
              onInput={({ currentTarget }) => setKey(currentTarget.value)}
            />
          </label>
          <p class="muted">
            From <a href="/streams">Streams</a>: every stream has its own. It is not kept here.
          </p>
          <label class="field">
            <span>Camera</span>
            <select
              value={facing}
              disabled={isOpening}
              onChange={({ currentTarget }) => void turn(currentTarget.value)}
            >
              <option value="environment">Back camera</option>
              <option value="user">Front camera</option>
            </select>
          </label>
          <label class="publish-check">
            <input
              type="checkbox"
              checked={hasSound}
              disabled={!isOver}
              onChange={({ currentTarget }) => setSound(currentTarget.checked)}
            />
            <span>With sound</span>
          </label>
          {/* Two elements: one that became the other during its click would submit the form, and start again. */}
          {isOver ? (
            <button
              key="start"
              type="submit"
              class="button button-strong"
              disabled={cannot || isOpening || to === OTHER}
            >
              Start
            </button>
          ) : (
            <button
              key="stop"
              type="button"
              class="button"
              onClick={() => void running.current?.publisher.stop()}
            >
              Stop
            </button>
          )}
        </form>
        <div>
          <video
            ref={preview}
            class="publish-preview"
            autoplay
            playsInline
            muted
            aria-label="What the camera sees"
          />
          <p class="publish-state" data-is={state.is} role="status">
            <span class="dot" aria-hidden="true" />
            <span>{wordsOf(state)}</span>
          </p>
          <p class="publish-figures">{stats && figuresOf(stats)}</p>
          <p class="muted">Keep this page open and in front, or the browser stops the camera.</p>
        </div>
      </div>
    </div>
  )
}

function wordsOf(state: PublisherState): string {
  switch (state.is) {
    case 'connecting':
      return 'Connecting …'
    case 'live':
      return `Live for ${duration(Math.max(0, nowMs.value - state.sinceMs))}`
    case 'reconnecting':
      return `${state.why} Trying again …`
    case 'refused':
      return state.why
    case 'stopped':
      return 'Not publishing'
  }
}

const figuresOf = ({ codec, width, height, framesPerSecond, bitsPerSecond }: PublisherStats) =>
  [codec, `${width} × ${height}`, `${Math.round(framesPerSecond)} frames/s`, bitrate(bitsPerSecond)].join(
    ' · ',
  )
