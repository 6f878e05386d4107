import { useEffect, useState } from 'preact/hooks'
import type { Camera, Command } from '../../api/cameras.ts'
import * as api from '../api.ts'
import { devicePage } from '../devices.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { CameraIs, LooksFacts, whatIsWrong } from '../parts/camera-state.tsx'
import { FaceTile } from '../parts/face-tile.tsx'
import { icons } from '../parts/icons.tsx'
import { LastPicture } from '../parts/last-picture.tsx'
import { LivePicture } from '../parts/live-picture.tsx'
import { withoutSuperseded } from '../parts/shots.ts'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { useZones, ZonesOver } from '../parts/zones-over.tsx'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { cameraKey, count, number, share } from '../words.ts'
import { EffectSwitch, RecordingIs, RecordSwitch } from './camera-record.tsx'

await style('cameras.css')

/** One camera: its picture, its state, its commands, and its latest faces. */

const REFRESH_MS = 15_000
const FACES_COUNT = 12

export default function CameraPage({ params }: { readonly params: Readonly<Record<string, string>> }) {
  const address = { site: params.site ?? '', device: params.device ?? '', camera: params.camera ?? '' }
  const key = cameraKey(address)
  const loaded = useLoaded(key, (signal) => api.camera(address, signal))
  const faces = useLoaded(`faces of ${key}`, (signal) =>
    api.detections({ camera: key, limit: String(FACES_COUNT) }, signal),
  )
  const [said, setSaid] = useState<Camera | undefined>(undefined)
  // What is fetched is newer than what was said before.
  useEffect(() => setSaid(undefined), [loaded.value])
  useNews('camera', (camera) => {
    if (cameraKey(camera) === key) setSaid({ ...camera, newest: loaded.value?.newest ?? null })
  })
  const [fresh, setFresh] = useState<Awaited<ReturnType<typeof api.detections>>['items']>([])
  useNews('detection', (face) => {
    if (cameraKey(face) === key) setFresh((old) => [face, ...old].slice(0, FACES_COUNT))
  })
  useNews('reset', () => {
    loaded.again()
    faces.again()
  })
  useEvery(REFRESH_MS, loaded.again)
  return (
    <div class="page">
      <p class="crumbs">
        <a href="/cameras">Cameras</a>
      </p>
      <h1>{address.camera}</h1>
      <Shown of={loaded} waiting={<Waiting shape="block" rows={1} />}>
        {(value) => <One camera={said ?? value} told={setSaid} />}
      </Shown>
      <section aria-labelledby="faces">
        <div class="section-head">
          <h2 id="faces">Latest faces</h2>
          <a href={`/faces${api.queryText({ camera: key })}`}>All faces</a>
        </div>
        <Shown of={faces} waiting={<Waiting shape="tile" rows={6} />}>
          {({ items }) => {
            const all = withoutSuperseded([
              ...fresh,
              ...items.filter(({ id }) => !fresh.some((face) => face.id === id)),
            ])
            return all.length === 0 ? (
              <Empty title="No faces yet.">They appear here as they are seen.</Empty>
            ) : (
              <ul class="grid grid-strip">
                {all.slice(0, FACES_COUNT).map((face) => (
                  <li key={face.id}>
                    <FaceTile face={face} />
                  </li>
                ))}
              </ul>
            )
          }}
        </Shown>
      </section>
    </div>
  )
}

/** With an effect, whoever may see the scene itself can have it beside what viewers see. */
function LiveSides({ camera }: { readonly camera: Camera }) {
  const [isBoth, setBoth] = useState(false)
  const effect = camera.state?.effect ?? 'none'
  if (effect === 'none' || !may('recordings')) return <LivePicture camera={camera} />
  return (
    <>
      <div class={`camera-sides${isBoth ? ' camera-sides-both' : ''}`}>
        <figure>
          <LivePicture camera={camera} />
          {isBoth && <figcaption class="muted">What viewers see</figcaption>}
        </figure>
        {isBoth && (
          <figure>
            <LivePicture camera={camera} isOriginal />
            <figcaption class="muted">The scene</figcaption>
          </figure>
        )}
      </div>
      <p class="buttons camera-sides-switch">
        <button type="button" class="button" aria-pressed={isBoth} onClick={() => setBoth(!isBoth)}>
          {isBoth ? 'Hide the scene' : 'Show the scene beside it'}
        </button>
      </p>
    </>
  )
}

function One({ camera, told }: { readonly camera: Camera; readonly told: (camera: Camera) => void }) {
  const { state } = camera
  const wrong = whatIsWrong(camera)
  const zones = useZones(camera)
  return (
    <div class="camera">
      <div class="camera-picture">
        {may('live') && camera.is === 'live' ? (
          <LiveSides camera={camera} />
        ) : (
          <LastPicture camera={camera} />
        )}
        <ZonesOver zones={zones} />
      </div>
      <div class="camera-facts">
        <p class="camera-is">
          <span class="camera-is-words">
            <CameraIs camera={camera} />
            <RecordingIs camera={camera} />
          </span>
          <span class="muted">
            {camera.site} · {camera.device}
          </span>
        </p>
        {wrong && (
          <p class="note">
            {wrong}
            {state?.view && state.view.is !== 'clear' && (
              <>
                {' '}
                Since <When atMs={state.view.sinceMs} />.
              </>
            )}
          </p>
        )}
        {(may('recordings') || may('scenarios')) && (
          <p class="buttons">
            {may('recordings') && (
              <a class="button" href={`/recordings${api.queryText({ camera: cameraKey(camera) })}`}>
                {icons.recordings()} Recordings
              </a>
            )}
            {may('scenarios') && (
              <a class="button" href={devicePage(camera)}>
                {icons.devices()} Settings
              </a>
            )}
          </p>
        )}
        <dl class="facts">
          <dt>Last report</dt>
          <dd>{camera.stateAtMs === null ? 'None yet' : <When atMs={camera.stateAtMs} />}</dd>
          {state?.present && (
            <>
              <dt>Present now</dt>
              <dd>
                {count(state.present.faces, 'face')}
                {Object.entries(state.present.zones).length > 0 && (
                  <ul class="zone-chips" aria-label="By zone">
                    {Object.entries(state.present.zones).map(([name, faces]) => (
                      <li key={name} class="badge">
                        {name}: {number(faces)}
                      </li>
                    ))}
                  </ul>
                )}
              </dd>
            </>
          )}
          {state && <LooksFacts state={state} said={wrong} />}
          <dt>Newest face</dt>
          <dd>{camera.newest ? <When atMs={camera.newest.capturedAtMs} /> : 'None yet'}</dd>
          {state && (
            <>
              <dt>Crops</dt>
              <dd>
                {number(state.crops)} <span class="muted">since the agent started</span>
              </dd>
              <dt>Threshold</dt>
              <dd>
                {state.threshold === 'auto' ? 'Automatic' : share(state.threshold)}{' '}
                <span class="muted">(a face counts from {share(state.scoreMin)})</span>
              </dd>
              <dt>Rate</dt>
              <dd>{state.rate === 'unlimited' ? 'Unlimited' : `At most ${state.rate} crops a second`}</dd>
            </>
          )}
        </dl>
        {may('command') && state && <Commands camera={camera} told={told} />}
      </div>
    </div>
  )
}

type Answer =
  | { readonly is: 'asked'; readonly what: string }
  | { readonly is: 'confirmed'; readonly what: string; readonly afterMs: number }
  | { readonly is: 'failed'; readonly what: string; readonly why: string }

function Commands({ camera, told }: { readonly camera: Camera; readonly told: (camera: Camera) => void }) {
  const [answer, setAnswer] = useState<Answer | undefined>(undefined)
  const isWaiting = answer?.is === 'asked'
  const { state } = camera
  const [threshold, setThreshold] = useState<string | undefined>(undefined)
  const [rate, setRate] = useState<string | undefined>(undefined)
  if (!state) return null

  async function tell(what: string, command: Command): Promise<void> {
    setAnswer({ is: 'asked', what })
    const began = performance.now()
    try {
      const after = await api.command(camera, command)
      told(after)
      setAnswer({ is: 'confirmed', what, afterMs: performance.now() - began })
      setThreshold(undefined)
      setRate(undefined)
    } catch (error) {
      setAnswer({ is: 'failed', what, why: error instanceof Error ? error.message : String(error) })
    }
  }
  const thresholdShown =
    threshold ?? (state.threshold === 'auto' ? String(state.scoreMin) : String(state.threshold))
  const rateShown = rate ?? (state.rate === 'unlimited' ? '' : String(state.rate))
  return (
    <section class="commands" aria-label="Commands">
      <p class="buttons">
        <button
          type="button"
          class="button"
          disabled={isWaiting}
          onClick={() =>
            void (state.paused ? tell('Resume', { command: 'resume' }) : tell('Pause', { command: 'pause' }))
          }
        >
          {state.paused ? 'Resume' : 'Pause'}
        </button>
        {may('live') && (
          <button
            type="button"
            class="button"
            disabled={isWaiting}
            onClick={() => void tell('Take a snapshot', { command: 'snapshot' })}
          >
            Take a snapshot
          </button>
        )}
      </p>
      <form
        class="command"
        onSubmit={(event) => {
          event.preventDefault()
          void tell(`Threshold ${share(Number(thresholdShown))}`, {
            command: 'threshold',
            value: String(Number(thresholdShown)),
          })
        }}
      >
        <label class="field">
          <span>
            Threshold <output>{share(Number(thresholdShown))}</output>
          </span>
          <input
            type="range"
            min="0"
            max="1"
            step="0.01"
            value={thresholdShown}
            onInput={({ currentTarget: { value } }) => setThreshold(value)}
          />
        </label>
        <button type="submit" class="button" disabled={isWaiting || threshold === undefined}>
          Set
        </button>
        <button
          type="button"
          class="button"
          disabled={isWaiting || state.threshold === 'auto'}
          onClick={() => void tell('Threshold automatic', { command: 'threshold', value: 'auto' })}
        >
          Auto
        </button>
      </form>
      <form
        class="command"
        onSubmit={(event) => {
          event.preventDefault()
          void tell(`Rate ${rateShown}`, { command: 'rate', value: rateShown })
        }}
      >
        <label class="field">
          <span>Crops a second, at most</span>
          <input
            type="number"
            min="0.1"
            max="1000"
            step="any"
            required
            placeholder="unlimited"
            value={rateShown}
            onInput={({ currentTarget: { value } }) => setRate(value)}
          />
        </label>
        <button type="submit" class="button" disabled={isWaiting || rate === undefined}>
          Set
        </button>
        <button
          type="button"
          class="button"
          disabled={isWaiting || state.rate === 'unlimited'}
          onClick={() => void tell('Rate unlimited', { command: 'rate', value: 'unlimited' })}
        >
          Unlimited
        </button>
      </form>
      {may('recordings') && <RecordSwitch camera={camera} isWaiting={isWaiting} tell={tell} />}
      {may('recordings') && <EffectSwitch camera={camera} isWaiting={isWaiting} tell={tell} />}
      <p class="answer" role="status" data-is={answer?.is}>
        {answer === undefined
          ? 'The camera confirms each command.'
          : answer.is === 'asked'
            ? `${answer.what}: waiting for the camera …`
            : answer.is === 'confirmed'
              ? `${answer.what}: confirmed by the camera after ${(answer.afterMs / 1000).toFixed(1)} s.`
              : `${answer.what}: ${answer.why}`}
      </p>
    </section>
  )
}
