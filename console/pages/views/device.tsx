import { useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import { cameras as cameraList, Problem } from '../api.ts'
import { pathWords } from '../device-settings.ts'
import type { Device, DeviceDesired, DeviceDocument, Problems } from '../device-types.ts'
import * as api from '../devices.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { DesiredIs, OnlineIs } from '../parts/desired-state.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { dayAndClock } from '../words.ts'
import { AddCamera } from './device-add-camera.tsx'
import { DeviceAllows } from './device-allows.tsx'
import { DeviceCamera } from './device-camera.tsx'
import { DetectorForm, DetectorIs } from './device-detector.tsx'
import { DeviceHistory } from './device-history.tsx'
import { LabelsForm } from './device-labels.tsx'
import { LooksAre, LooksForm } from './device-looks.tsx'

await style('devices.css')
await style('cameras.css')

/** One device: what it shall be beside what it is, camera by camera, and where each setting comes from. */

const REFRESH_MS = 10_000
/** While it has not answered. */
const WAITING_MS = 1500

const EMPTY: DeviceDocument = { labels: [], cameraLabels: {}, content: {} }

export default function DevicePage({ params }: { readonly params: Readonly<Record<string, string>> }) {
  const address = { site: params.site ?? '', device: params.device ?? '' }
  const key = `${address.site}/${address.device}`
  const devices = useLoaded(`device ${key}`, (signal) => api.devices(signal))
  const cameras = useLoaded(`cameras of ${key}`, (signal) => cameraList(signal))
  const desired = useLoaded(`desired ${key}`, (signal) => api.desired(address, signal))
  const again = () => {
    devices.again()
    desired.again()
  }
  useNews('device', (said) => {
    if (said.site === address.site && said.device === address.device) again()
  })
  useNews('reset', again)
  const isWaiting = desired.value?.state === 'pending' || desired.value?.state === 'applying'
  useEvery(isWaiting ? WAITING_MS : REFRESH_MS, again)
  const device = devices.value?.items.find((it) => it.site === address.site && it.device === address.device)
  const ofDevice = (cameras.value?.items ?? []).filter(
    (it) => it.site === address.site && it.device === address.device,
  )
  const isMissing =
    (desired.error instanceof Problem && desired.error.status === 404) ||
    (devices.value !== undefined && !device && desired.value === undefined && desired.error !== undefined)
  return (
    <div class="page">
      <p class="crumbs">
        <a href="/devices">Devices</a>
      </p>
      <header class="page-head">
        <div>
          <h1>{address.device}</h1>
          <p class="page-sub">{address.site}</p>
        </div>
      </header>
      {isMissing ? (
        <Empty title="There is no such device, or you may not see it.">
          <a href="/devices">Show all devices</a>
        </Empty>
      ) : (
        <Shown of={desired} waiting={<Waiting rows={5} />}>
          {(value) => <One address={address} device={device} cameras={ofDevice} is={value} again={again} />}
        </Shown>
      )}
    </div>
  )
}

type Doing = 'detector' | 'looks' | 'camera' | 'labels' | 'history'

function One({
  address,
  device,
  cameras,
  is,
  again,
}: {
  readonly address: { readonly site: string; readonly device: string }
  readonly device: Device | undefined
  readonly cameras: readonly Camera[]
  readonly is: DeviceDesired
  readonly again: () => void
}) {
  const [doing, setDoing] = useState<Doing | undefined>(undefined)
  const [problems, setProblems] = useState<Problems>([])
  const { reported } = is
  const document = is.document ?? EMPTY
  const canChange = may('scenarios')
  const isOnline = device?.online ?? false

  /** Errors: those of the API, REVISION_CHANGED among them. */
  async function save(next: DeviceDocument, done: string): Promise<void> {
    const { problems = [] } = await api.change(address, { revision: is.revision, document: next })
    setDoing(undefined)
    setProblems(problems)
    say(isOnline ? `${done} The device is told now.` : `${done} The device is told when it is back.`)
    again()
  }
  async function tryAgain(): Promise<void> {
    try {
      await api.tryAgain(address)
      say('It is told again.')
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    again()
  }

  const names = [
    ...new Set([
      ...Object.keys(reported?.effective.cameras ?? {}),
      ...Object.keys(is.desired?.content.cameras ?? {}),
      ...Object.keys(document.content.cameras ?? {}),
      ...(document.content.removed ?? []),
      ...(device?.cameras ?? []),
    ]),
  ].sort()
  return (
    <>
      <section class="device-state" aria-label="State" data-state={is.state}>
        <p class="device-state-head">
          {device && <OnlineIs device={device} />}
          <DesiredIs state={is.state} isOnline={isOnline} />
        </p>
        <State is={is} isOnline={isOnline} />
        {is.fault !== null && (
          <p class="note">
            Something newer is not sent to it: {is.fault} It is told again when that is mended.
          </p>
        )}
        {problems.length > 0 && (
          <ul class="plain device-problems" aria-label="What to look at">
            {problems.map(({ path, message }) => (
              <li key={`${path} ${message}`} class="note">
                {message}
              </li>
            ))}
          </ul>
        )}
        <dl class="facts">
          {is.desired && (
            <>
              <dt>Sent</dt>
              <dd>
                <When atMs={is.desired.atMs} /> by {is.desired.by}{' '}
                <span class="muted">(version {is.desired.version})</span>
              </dd>
            </>
          )}
          {reported?.applied && (
            <>
              <dt>Runs</dt>
              <dd>
                {is.desired && reported.applied.version === is.desired.version ? (
                  'this version'
                ) : (
                  <>version {reported.applied.version}</>
                )}
                , since {dayAndClock(reported.applied.atMs)}
              </dd>
            </>
          )}
          {is.reportedAtMs !== null && (
            <>
              <dt>Last answer</dt>
              <dd>
                <When atMs={is.reportedAtMs} />
              </dd>
            </>
          )}
          {reported && (
            <>
              <dt>Program</dt>
              <dd>version {reported.program}</dd>
            </>
          )}
          {is.desired && is.desired.scenarios.length > 0 && (
            <>
              <dt>Scenarios</dt>
              <dd>
                {is.desired.scenarios.map(({ id, name }, index) => (
                  <span key={id}>
                    {index > 0 && ', '}
                    <a href={`/scenarios/${encodeURIComponent(id)}`}>{name}</a>
                  </span>
                ))}
              </dd>
            </>
          )}
          <dt>Labels</dt>
          <dd>
            {document.labels.length === 0 ? <span class="muted">None</span> : document.labels.join(', ')}
          </dd>
        </dl>
        {canChange && (
          <p class="buttons">
            {(is.state === 'refused' || is.state === 'pending' || is.state === 'differs') && (
              <button type="button" class="button button-strong" onClick={() => void tryAgain()}>
                Try again
              </button>
            )}
            <button type="button" class="button" onClick={() => setDoing('labels')}>
              Labels
            </button>
            <button type="button" class="button" onClick={() => setDoing('history')}>
              History
            </button>
          </p>
        )}
      </section>

      {reported && (
        <section aria-labelledby="detector">
          <div class="section-head">
            <h2 id="detector">Detector</h2>
            {canChange && (
              <button type="button" class="button" onClick={() => setDoing('detector')}>
                Change
              </button>
            )}
          </div>
          <DetectorIs is={is} />
        </section>
      )}

      {reported?.effective.process && (
        <section aria-labelledby="looks">
          <div class="section-head">
            <h2 id="looks">Second looks</h2>
            {canChange && (
              <button type="button" class="button" onClick={() => setDoing('looks')}>
                Change<span class="visually-hidden"> the second looks</span>
              </button>
            )}
          </div>
          <LooksAre is={is} />
        </section>
      )}

      <section aria-labelledby="cameras">
        <div class="section-head">
          <h2 id="cameras">Cameras</h2>
          {canChange && reported?.allows.cameras && (
            <button type="button" class="button" onClick={() => setDoing('camera')}>
              Add a camera
            </button>
          )}
        </div>
        {names.length === 0 ? (
          <Empty title="No cameras.">
            {reported?.allows.cameras
              ? 'Add one: the device opens it, and answers with its picture.'
              : 'They stand in its device.yaml.'}
          </Empty>
        ) : (
          <ul class="cards">
            {names.map((name) => (
              <li key={name}>
                <DeviceCamera
                  address={{ ...address, camera: name }}
                  camera={cameras.find((it) => it.camera === name)}
                  is={is}
                  document={document}
                  save={save}
                  canChange={canChange}
                />
              </li>
            ))}
          </ul>
        )}
      </section>
      {reported && (
        <DeviceAllows allows={reported.allows} address={address} streams={is.desired?.content.streams} />
      )}
      {doing === 'labels' && (
        <LabelsForm document={document} cameras={names} save={save} onClose={() => setDoing(undefined)} />
      )}
      {doing === 'history' && (
        <DeviceHistory address={address} is={is} again={again} onClose={() => setDoing(undefined)} />
      )}
      {doing === 'detector' && (
        <DetectorForm is={is} document={document} save={save} onClose={() => setDoing(undefined)} />
      )}
      {doing === 'looks' && (
        <LooksForm is={is} document={document} save={save} onClose={() => setDoing(undefined)} />
      )}
      {doing === 'camera' && (
        <AddCamera
          allows={reported?.allows}
          taken={names}
          document={document}
          save={save}
          onClose={() => setDoing(undefined)}
        />
      )}
    </>
  )
}

/** What is so, in sentences. */
function State({ is, isOnline }: { readonly is: DeviceDesired; readonly isOnline: boolean }) {
  const { reported } = is
  switch (is.state) {
    case 'none':
      return (
        <p>
          Nothing was sent to it. It runs with its own file
          {reported
            ? '.'
            : ', and has not said yet with which settings: its program may be older than this console.'}
        </p>
      )
    case 'pending':
      return isOnline ? (
        <p>What it shall be was sent, and it has not answered yet.</p>
      ) : (
        <p>It is offline. It gets what it shall be as soon as it is back; until then it runs as it was.</p>
      )
    case 'applying':
      return (
        <p>It opens its cameras and loads its models to see whether they work. Nothing has changed yet.</p>
      )
    case 'applied':
      return is.differences.length === 0 ? (
        <p>It runs with what it shall be.</p>
      ) : (
        <div class="note">
          <p>It says that it has applied what it shall be, but these settings are otherwise:</p>
          <ul class="plain">
            {is.differences.map(({ path }) => (
              <li key={path}>{pathWords(path.split('.'))}</li>
            ))}
          </ul>
        </div>
      )
    case 'refused':
      return (
        <div class="note">
          <p>
            {reported?.refused && reported.refused.path.length > 0 && (
              <strong>{pathWords(reported.refused.path)}: </strong>
            )}
            {reported?.refused?.message ?? is.why ?? 'It did not say why.'}
            {reported?.refused && <code class="code">{reported.refused.code}</code>}
          </p>
          <p>Nothing of it was applied: the device runs as it did before.</p>
        </div>
      )
    default:
      return (
        <div class="note">
          <p>{is.why ?? 'What it says does not fit what it was told.'}</p>
        </div>
      )
  }
}
