import { Fragment } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { DetectionDetail, Forgotten } from '../../api/detections.ts'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { Dialog } from '../parts/dialog.tsx'
import { FacePicture, FaceTile } from '../parts/face-tile.tsx'
import { icons } from '../parts/icons.tsx'
import { KeysHelp } from '../parts/keys-help.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Failed, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { useZones, ZoneShapes } from '../parts/zones-over.tsx'
import * as recordings from '../recordings.ts'
import { go } from '../router.ts'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { bytes, cameraKey, exact, number, share } from '../words.ts'
import { ShareDialog } from './share-dialog.tsx'

await style('faces.css')

/** One face: its picture, where in its frame it was, and what can be done with it. */

const KEYS = [
  ['k', 'next newer face of this camera'],
  ['j', 'next older face of this camera'],
  ['r', 'reviewed, or not'],
  ['?', 'this help'],
] as const

export default function FacePage({ params }: { readonly params: Readonly<Record<string, string>> }) {
  const { id = '' } = params
  const face = useLoaded(id, (signal) => api.detection(id, signal))
  const isMissing = face.error instanceof api.Problem && face.error.status === 404
  return (
    <div class="page">
      <p class="crumbs">
        <a href="/faces">Faces</a>
      </p>
      {isMissing ? (
        <>
          <h1>Face not found</h1>
          <Empty title="It was deleted, or you may not see it.">
            <a href="/faces">Show all faces</a>
          </Empty>
        </>
      ) : (
        <Shown
          of={face}
          waiting={
            <>
              <h1>Face</h1>
              <Waiting shape="block" rows={1} />
            </>
          }
        >
          {(value) => <Face face={value} again={face.again} />}
        </Shown>
      )}
    </div>
  )
}

function Face({ face, again }: { readonly face: DetectionDetail; readonly again: () => void }) {
  const [isShared, setShared] = useState(false)
  const [isDeleting, setDeleting] = useState(false)
  const [isHelped, setHelped] = useState(false)
  const [reviewed, setReviewed] = useState(face.reviewed)
  useEffect(() => setReviewed(face.reviewed), [face.reviewed])

  async function mark(): Promise<void> {
    const next = !reviewed
    setReviewed(next)
    try {
      await api.review({ ids: [face.id], reviewed: next })
      say(next ? 'Marked as reviewed.' : 'Marked as not reviewed.')
    } catch (error) {
      setReviewed(!next)
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
  }

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector('dialog[open]')) return
      if (event.target instanceof HTMLElement && event.target.matches('input, select, textarea')) return
      if (event.key === 'j' && face.older) go(`/faces/${face.older}`)
      else if (event.key === 'k' && face.newer) go(`/faces/${face.newer}`)
      else if (event.key === 'r' && may('review')) void mark()
      else if (event.key === '?') setHelped(true)
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  })

  return (
    <article class="one">
      <header class="page-head">
        <div>
          <h1>{face.camera}</h1>
          <p class="page-sub">
            {face.site} · {face.device} · <When atMs={face.capturedAtMs} />
          </p>
        </div>
        <nav class="page-acts" aria-label="Faces of this camera">
          <Beside id={face.newer} to="newer" />
          <Beside id={face.older} to="older" />
        </nav>
      </header>
      {face.best !== null && (
        <p class="note">
          This was the first picture of this face, sent at once.{' '}
          <a href={`/faces/${face.best}`}>Its best picture</a> has taken its place in lists and counts.
        </p>
      )}
      {face.best === null && face.shot === 'first' && (
        <p class="note">
          This is the first picture of this face. Its best one takes its place when it has left.
        </p>
      )}
      <div class="one-halves">
        <figure class="one-picture">
          <FacePicture key={face.id} face={face} eager />
        </figure>
        <div class="one-facts">
          <p class="buttons">
            {may('review') && (
              <button
                type="button"
                class={`button${reviewed ? '' : ' button-strong'}`}
                aria-pressed={reviewed}
                onClick={() => void mark()}
              >
                {reviewed ? (
                  <>{icons.check()} Reviewed</>
                ) : (
                  <>
                    Mark as reviewed <kbd>r</kbd>
                  </>
                )}
              </button>
            )}
            {may('recordings') && <WatchTheMoment face={face} />}
            <a class="button" href={`${face.picture}?download=true`} download="">
              Download
            </a>
            {may('share') && (
              <button type="button" class="button" onClick={() => setShared(true)}>
                Share
              </button>
            )}
            {may('forget') && (
              <button type="button" class="button button-danger" onClick={() => setDeleting(true)}>
                Delete
              </button>
            )}
          </p>
          <InFrame face={face} />
          <Facts face={face} />
        </div>
      </div>
      <section aria-labelledby="others">
        <div class="section-head">
          <h2 id="others">Other pictures of this track</h2>
          {face.track && face.trackOthers.length > 0 && (
            <a href={`/faces?track=${face.track}`}>All of them</a>
          )}
        </div>
        {face.trackOthers.length === 0 ? (
          <p class="muted">
            {face.track ? 'None: only the best picture was kept.' : 'None: photos have no tracks.'}
          </p>
        ) : (
          <ul class="grid grid-strip">
            {face.trackOthers.map((other) => (
              <li key={other.id}>
                <FaceTile face={other} />
              </li>
            ))}
          </ul>
        )}
      </section>
      {isShared && <ShareDialog of={{ detection: face.id }} onClose={() => setShared(false)} />}
      {isDeleting && <Delete face={face} onClose={() => setDeleting(false)} again={again} />}
      {isHelped && <KeysHelp keys={KEYS} onClose={() => setHelped(false)} />}
    </article>
  )
}

/** Where the camera's recording has that moment. */
function WatchTheMoment({ face }: { readonly face: DetectionDetail }) {
  const camera = cameraKey(face)
  const moment = useLoaded(`recording of ${face.id}`, (signal) =>
    recordings.timeline([camera], { fromMs: face.atMs, toMs: face.atMs + 1 }, signal),
  )
  const isRecorded = moment.value?.cameras.some(({ stretches }) => stretches.length > 0) ?? false
  if (!isRecorded) return null
  return (
    <a class="button" href={`/recordings${api.queryText({ camera, at: String(face.atMs) })}`}>
      {icons.play()} Watch the moment
    </a>
  )
}

function Beside({ id, to }: { readonly id: string | null; readonly to: 'newer' | 'older' }) {
  const icon = to === 'newer' ? icons.left() : icons.right()
  if (id === null)
    return (
      <span class="icon-button" aria-disabled="true">
        {icon}
        <span class="visually-hidden">No {to} face</span>
      </span>
    )
  return (
    <a class="icon-button" href={`/faces/${id}`} title={to === 'newer' ? 'Newer (k)' : 'Older (j)'}>
      {icon}
      <span class="visually-hidden">Next {to} face</span>
    </a>
  )
}

/** Where in its frame the face was, to scale; the picture lies where it was cut from. */
function InFrame({ face }: { readonly face: DetectionDetail }) {
  const [width, height] = face.frame
  const [x, y, w, h] = face.box
  const [rx, ry, rw, rh] = face.region
  const ofCamera = useZones(face)
  // Those that it was in; the others say nothing of this face.
  const zones = ofCamera.filter(({ name }) => face.zones?.includes(name))
  return (
    <figure class="in-frame">
      <svg
        viewBox={`0 0 ${width} ${height}`}
        role="img"
        aria-label={`The face is ${share((x + w / 2) / width)} from the left and ${share((y + h / 2) / height)} from the top of the frame, and ${Math.round(w)} by ${Math.round(h)} pixels large.`}
      >
        <rect class="in-frame-all" width={width} height={height} />
        <ZoneShapes zones={zones} width={width} height={height} />
        {[1, 2].map((third) => (
          <g key={third} class="in-frame-thirds">
            <line x1={(width * third) / 3} y1={0} x2={(width * third) / 3} y2={height} />
            <line x1={0} y1={(height * third) / 3} x2={width} y2={(height * third) / 3} />
          </g>
        ))}
        <image href={face.picture} x={rx} y={ry} width={rw} height={rh} preserveAspectRatio="none" />
        <rect class="in-frame-region" x={rx} y={ry} width={rw} height={rh} />
        <rect class="in-frame-box" x={x} y={y} width={w} height={h} />
      </svg>
      <figcaption>
        Position in the frame of {width} × {height} pixels
      </figcaption>
    </figure>
  )
}

function Facts({ face }: { readonly face: DetectionDetail }) {
  return (
    <dl class="facts">
      <dt>Seen</dt>
      <dd>
        {exact(face.capturedAtMs)}
        {!face.clockSane && <span class="note">The device's clock was not set: this time is wrong.</span>}
      </dd>
      <dt>Stored</dt>
      <dd>
        {exact(face.storedAtMs)}
        {face.clockSane && face.storedAtMs > face.capturedAtMs && (
          <span class="muted"> ({((face.storedAtMs - face.capturedAtMs) / 1000).toFixed(1)} s later)</span>
        )}
      </dd>
      {face.zones !== null && (
        <>
          <dt>Zones</dt>
          <dd>
            {face.zones.length === 0 ? (
              'In none'
            ) : (
              <ul class="zone-chips">
                {face.zones.map((name) => (
                  <li key={name} class="badge">
                    {name}
                  </li>
                ))}
              </ul>
            )}
          </dd>
        </>
      )}
      <dt>Mask</dt>
      <dd>{face.masked === null ? 'Not known' : face.masked ? 'Yes' : 'No'}</dd>
      {face.attributes.map(({ name, label, score, by }, index) => (
        // A plugin may say the same twice.
        <Fragment key={index}>
          <dt>
            <bdi>{name}</bdi>
          </dt>
          <dd>
            <a href={`/faces${api.queryText({ attribute: `${name}:${label}` })}`}>
              <bdi>{label}</bdi>
            </a>{' '}
            <span class="muted">
              {share(score)} sure
              {by !== undefined && (
                <>
                  , says <bdi class="mono">{by}</bdi>
                </>
              )}
            </span>
          </dd>
        </Fragment>
      ))}
      <dt>Score</dt>
      <dd>
        <span class="meter" role="presentation">
          <span style={{ width: `${face.score * 100}%` }} />
        </span>
        {share(face.score)}
      </dd>
      {face.quality && (
        <>
          <dt>Quality</dt>
          <dd>
            {share(face.quality.total)}{' '}
            <span class="muted">
              (size {share(face.quality.size)}, sharpness {share(face.quality.sharpness)}, frontality{' '}
              {share(face.quality.frontality)})
            </span>
          </dd>
        </>
      )}
      <dt>Size</dt>
      <dd>
        {number(Math.round(face.box[2]))} × {number(Math.round(face.box[3]))} pixels{' '}
        <span class="muted">{bytes(face.bytes)}</span>
      </dd>
      <dt>Model</dt>
      <dd>{face.model}</dd>
      {face.file !== null && (
        <>
          <dt>Photo</dt>
          <dd class="breaks">
            <a href={`/faces${api.queryText({ file: face.file })}`}>{face.file}</a>
          </dd>
        </>
      )}
      <dt>Id</dt>
      <dd class="mono breaks">{face.id}</dd>
      <dt>SHA-256</dt>
      <dd class="mono breaks">{face.sha256}</dd>
    </dl>
  )
}

/** Asks, deletes, and says what was removed where. */
function Delete({
  face,
  onClose,
  again,
}: {
  readonly face: DetectionDetail
  readonly onClose: () => void
  readonly again: () => void
}) {
  const [isWorking, setWorking] = useState(false)
  const [done, setDone] = useState<Forgotten | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  async function act(): Promise<void> {
    setWorking(true)
    setError(undefined)
    try {
      setDone(await api.forget(face.id))
    } catch (problem) {
      setError(problem)
    }
    setWorking(false)
  }
  if (done)
    return (
      <Dialog
        title="Deleted"
        onClose={() => {
          onClose()
          go(face.older ? `/faces/${face.older}` : '/faces')
        }}
      >
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Where</th>
              <th scope="col" class="right">
                Removed
              </th>
            </tr>
          </thead>
          <tbody>
            {done.places.map(({ place, count, left }) => (
              <tr key={place}>
                <td>{place}</td>
                <td class="right">{left ? `${number(count)} still there` : number(count)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {done.places.some(({ left }) => left) && (
          <p class="note">What is left is deleted as soon as the program that holds it releases it.</p>
        )}
        <p class="buttons">
          <button
            type="button"
            class="button button-strong"
            onClick={() => {
              onClose()
              go(face.older ? `/faces/${face.older}` : '/faces')
            }}
          >
            Done
          </button>
        </p>
      </Dialog>
    )
  return (
    <Dialog title="Delete this face?" onClose={onClose}>
      <p>
        Its picture and its data are deleted from the bucket, from the database, and from the queues of the
        subscribers. This cannot be undone.
      </p>
      {error !== undefined && <Failed error={error} again={again} />}
      <p class="buttons">
        <button
          type="button"
          class="button button-danger-strong"
          disabled={isWorking}
          onClick={() => void act()}
        >
          {isWorking ? 'Deleting …' : 'Delete'}
        </button>
        <button type="button" class="button" onClick={onClose}>
          Keep it
        </button>
      </p>
    </Dialog>
  )
}
