import { useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import type { EventData } from '../../api/events.ts'
import * as api from '../api.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { withNews } from '../parts/camera-news.ts'
import { CameraIs, whatIsWrong, whatLooksBadly } from '../parts/camera-state.tsx'
import { LastPicture } from '../parts/last-picture.tsx'
import { LivePicture } from '../parts/live-picture.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { cameraKey, count } from '../words.ts'
import { RecordingIs } from './camera-record.tsx'

await style('cameras.css')

/** A wall of what the cameras saw last; live where somebody clicks. */

const REFRESH_MS = 30_000
/** Live at the same time: each is a connection. */
const LIVE_MAX = 4

export default function CamerasPage() {
  const cameras = useLoaded('cameras', api.cameras)
  const [said, setSaid] = useState<ReadonlyMap<string, EventData<'camera'>>>(new Map())
  const [live, setLive] = useState<readonly string[]>([])
  useNews('camera', (camera) => setSaid((old) => new Map(old).set(cameraKey(camera), camera)))
  useNews('reset', cameras.again)
  useEvery(REFRESH_MS, () => {
    setSaid(new Map())
    cameras.again()
  })
  const all = withNews(cameras.value?.items ?? [], said)
  const isLive = all.filter((camera) => camera.is === 'live').length
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Cameras</h1>
          {all.length > 0 && (
            <p class="page-sub">
              {isLive} of {count(all.length, 'camera')} live
            </p>
          )}
        </div>
      </header>
      <Shown of={cameras} waiting={<Waiting shape="block" rows={3} />}>
        {() =>
          all.length === 0 ? (
            <Empty title="No cameras yet.">
              A camera appears here when its agent has started and reaches the broker:{' '}
              <code>sightline device</code>
            </Empty>
          ) : (
            bySite(all).map(([site, ofSite]) => (
              <section key={site} aria-label={`Site ${site}`}>
                <h2>{site}</h2>
                <ul class="wall">
                  {ofSite.map((camera) => {
                    const key = cameraKey(camera)
                    return (
                      <li key={key}>
                        <Tile
                          camera={camera}
                          isLive={live.includes(key)}
                          toggle={() =>
                            setLive((old) =>
                              old.includes(key)
                                ? old.filter((one) => one !== key)
                                : [...old, key].slice(-LIVE_MAX),
                            )
                          }
                        />
                      </li>
                    )
                  })}
                </ul>
              </section>
            ))
          )
        }
      </Shown>
    </div>
  )
}

function Tile({
  camera,
  isLive,
  toggle,
}: {
  readonly camera: Camera
  readonly isLive: boolean
  readonly toggle: () => void
}) {
  const wrong = whatIsWrong(camera) ?? whatLooksBadly(camera)
  const canLive = may('live') && camera.is === 'live'
  return (
    <article class="tile" data-is={camera.is}>
      <div class="tile-picture">
        {isLive ? <LivePicture camera={camera} /> : <LastPicture camera={camera} />}
        {(canLive || isLive) && (
          <button type="button" class="tile-live" aria-pressed={isLive} onClick={toggle}>
            <span>{isLive ? 'Stop' : 'Watch live'}</span>
            <span class="visually-hidden"> {camera.camera}</span>
          </button>
        )}
      </div>
      <div class="tile-text">
        <h3>
          <a href={`/cameras/${api.cameraPath(camera)}`}>{camera.camera}</a>
        </h3>
        <span class="tile-is">
          <RecordingIs camera={camera} />
          <CameraIs camera={camera} />
        </span>
        <p class="muted tile-place">{camera.device}</p>
        <p class="muted tile-newest">
          {camera.newest ? (
            <>
              face <When atMs={camera.newest.capturedAtMs} />
            </>
          ) : (
            'no faces yet'
          )}
        </p>
        {wrong && <p class="tile-wrong">{wrong}</p>}
      </div>
    </article>
  )
}

function bySite(cameras: readonly Camera[]): readonly (readonly [string, readonly Camera[]])[] {
  const sites = new Map<string, Camera[]>()
  for (const camera of cameras) {
    const of = sites.get(camera.site)
    if (of) of.push(camera)
    else sites.set(camera.site, [camera])
  }
  return [...sites].sort(([a], [b]) => a.localeCompare(b))
}
