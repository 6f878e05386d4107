import { useState } from 'preact/hooks'
import type { Stream, StreamKey } from '../../api/stream-keys.ts'
import * as api from '../api.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { nowMs } from '../now.ts'
import { CameraIs } from '../parts/camera-state.tsx'
import { Confirm } from '../parts/confirm.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import * as streams from '../streams.ts'
import { style } from '../styles.ts'
import { bitrate, cameraKey, cameraPlace, count, duration } from '../words.ts'
import { AddStream } from './stream-add.tsx'
import { StreamKeyShown } from './stream-key.tsx'

await style('streams.css')

/** Cameras that come to us: who publishes, and with which key. */

const REFRESH_MS = 5000

export default function StreamsPage() {
  const all = useLoaded('streams', streams.streams)
  const [isAdding, setAdding] = useState(false)
  const [made, setMade] = useState<(StreamKey & { readonly isNew: boolean }) | undefined>(undefined)
  useEvery(REFRESH_MS, all.again)
  useNews('reset', all.again)
  const items = all.value?.items ?? []
  const live = items.filter((it) => it.live !== null).length
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Streams</h1>
          <p class="page-sub">
            {items.length === 0
              ? 'Cameras that come to a device: OBS, FFmpeg, a phone, a browser.'
              : `${live} of ${count(items.length, 'stream')} live`}
          </p>
        </div>
        <button type="button" class="button button-strong" onClick={() => setAdding(true)}>
          Add a stream
        </button>
      </header>
      <Shown of={all} waiting={<Waiting rows={3} />}>
        {() =>
          items.length === 0 ? (
            <Empty title="No streams yet.">
              A stream is a camera that comes to a device with a key of its own. Add one, and type its key
              into OBS, FFmpeg or a phone. The device has to listen: <code>listen</code> in its settings.
            </Empty>
          ) : (
            <ul class="cards">
              {items.map((stream) => (
                <li key={cameraKey(stream)}>
                  <StreamCard
                    stream={stream}
                    again={all.again}
                    rotated={(key) => setMade({ ...key, isNew: false })}
                  />
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
      {isAdding && (
        <AddStream
          onClose={() => setAdding(false)}
          added={(key) => {
            setAdding(false)
            setMade({ ...key, isNew: true })
            all.again()
          }}
        />
      )}
      {made && <StreamKeyShown made={made} isNew={made.isNew} onClose={() => setMade(undefined)} />}
    </div>
  )
}

type Asking = 'rotate' | 'deactivate' | 'remove'

function StreamCard({
  stream,
  again,
  rotated,
}: {
  readonly stream: Stream
  readonly again: () => void
  readonly rotated: (key: StreamKey) => void
}) {
  const [asking, setAsking] = useState<Asking | undefined>(undefined)
  const [isWorking, setWorking] = useState(false)
  async function set(settings: { active?: boolean; takeOver?: boolean }, done: string): Promise<void> {
    setWorking(true)
    try {
      await streams.change(stream, settings)
      say(done)
      again()
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    setWorking(false)
  }
  const { live } = stream
  const name = stream.camera
  return (
    <article class="card stream" data-live={live ? '' : undefined}>
      <div class="card-text">
        <div class="stream-head">
          <h2>
            <a href={`/cameras/${api.cameraPath(stream)}`}>{name}</a>
          </h2>
          {stream.active ? <CameraIs camera={stream} /> : <span class="tone">Deactivated</span>}
        </div>
        <p class="muted">
          {cameraPlace(stream)}
          {stream.owner !== null && !stream.isOwn && ` · of ${stream.owner}`}
        </p>
        {live ? (
          <dl class="facts stream-facts">
            <dt>Live</dt>
            <dd>
              for {duration(Math.max(0, nowMs.value - live.sinceMs))} by {live.by.toUpperCase()}
              {stream.from !== null && ` from ${stream.from}`}
            </dd>
            <dt>Video</dt>
            <dd>
              {[
                live.codec ?? 'codec not known yet',
                live.frame ? `${live.frame[0]} × ${live.frame[1]}` : undefined,
                bitrate(live.bitsPerSecond),
              ]
                .filter((it) => it !== undefined)
                .join(' · ')}
            </dd>
            <dt>Audio</dt>
            <dd>{live.audio ?? 'None'}</dd>
          </dl>
        ) : (
          <p class="muted">
            {stream.lastUsedMs === null ? (
              'Its key has never been used.'
            ) : (
              <>
                Last used <When atMs={stream.lastUsedMs} />
                {stream.from !== null && ` from ${stream.from}`}
              </>
            )}
          </p>
        )}
        <label class="stream-takeover">
          <input
            type="checkbox"
            checked={stream.takeOver}
            disabled={isWorking}
            onChange={({ currentTarget: { checked } }) =>
              void set(
                { takeOver: checked },
                checked ? 'A second publisher takes over.' : 'A second publisher is refused.',
              )
            }
          />{' '}
          A second publisher with the same key takes over
        </label>
      </div>
      <p class="buttons">
        <button type="button" class="button" onClick={() => setAsking('rotate')}>
          New key
        </button>
        {stream.active ? (
          <button type="button" class="button" onClick={() => setAsking('deactivate')}>
            Deactivate
          </button>
        ) : (
          <button
            type="button"
            class="button"
            disabled={isWorking}
            onClick={() => void set({ active: true }, `${name} may publish again.`)}
          >
            Activate
          </button>
        )}
        <button type="button" class="button button-danger" onClick={() => setAsking('remove')}>
          Remove
        </button>
      </p>
      {asking === 'rotate' && (
        <Confirm
          title={`A new key for ${name}?`}
          word="Make a new key"
          act={async () => rotated(await streams.rotate(stream))}
          onClose={() => setAsking(undefined)}
        >
          The key it has ends now{live ? ', and so does the stream that is live' : ''}.
        </Confirm>
      )}
      {asking === 'deactivate' && (
        <Confirm
          title={`Deactivate ${name}?`}
          word="Deactivate"
          act={async () => {
            await streams.change(stream, { active: false })
            again()
          }}
          onClose={() => setAsking(undefined)}
        >
          Its key is refused until it is activated again{live ? ', and the stream that is live ends' : ''}.
        </Confirm>
      )}
      {asking === 'remove' && (
        <Confirm
          title={`Remove ${name}?`}
          word="Remove"
          act={async () => {
            await streams.remove(stream)
            again()
          }}
          onClose={() => setAsking(undefined)}
        >
          Its key ends now{live ? ', and so does the stream that is live' : ''}. Its faces and recordings
          stay.
        </Confirm>
      )}
    </article>
  )
}
