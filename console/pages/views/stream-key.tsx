import { useState } from 'preact/hooks'
import type { StreamKey } from '../../api/stream-keys.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Secret } from '../parts/secret.tsx'

/** The key, this once, and what to type where. */

const WAYS = ['OBS', 'FFmpeg', 'WHIP', 'Pictures'] as const
type Way = (typeof WAYS)[number]

export function StreamKeyShown({
  made: { key, stream },
  isNew,
  onClose,
}: {
  readonly made: StreamKey
  readonly isNew: boolean
  readonly onClose: () => void
}) {
  const [way, setWay] = useState<Way>('OBS')
  // Where the device is reached is its owner's to know: the console is mostly somewhere else.
  const [host, setHost] = useState(location.hostname)
  return (
    <Dialog
      title={isNew ? `${stream.camera} is ready` : `The new key of ${stream.camera}`}
      wide
      onClose={onClose}
    >
      <p>The key is shown only once. Whoever has it can publish as {stream.camera}.</p>
      <Secret label="Key" text={key} />
      <label class="field">
        <span>Address of the device {stream.device}, as the publisher reaches it</span>
        <input value={host} onInput={({ currentTarget: { value } }) => setHost(value.trim())} />
      </label>
      <fieldset class="switch">
        <legend class="visually-hidden">Publish with</legend>
        {WAYS.map((it) => (
          <button key={it} type="button" aria-pressed={way === it} onClick={() => setWay(it)}>
            {it}
          </button>
        ))}
      </fieldset>
      <How way={way} host={host || 'HOST'} streamKey={key} />
      <p class="buttons">
        <button type="button" class="button button-strong" onClick={onClose}>
          I have saved it
        </button>
      </p>
    </Dialog>
  )
}

function How({
  way,
  host,
  streamKey,
}: {
  readonly way: Way
  readonly host: string
  readonly streamKey: string
}) {
  switch (way) {
    case 'OBS':
      return (
        <section class="stream-how">
          <p class="muted">Settings, Stream, Service: Custom …</p>
          <Secret label="Server" text={`rtmp://${host}/live`} />
          <Secret label="Stream Key" text={streamKey} />
          <p class="muted">Output, Keyframe Interval: 2 s. Recordings are cut at key frames.</p>
        </section>
      )
    case 'FFmpeg':
      return (
        <section class="stream-how">
          <Secret
            label="Command"
            text={`ffmpeg -re -i INPUT -c:v libx264 -preset veryfast -tune zerolatency -g 50 -c:a aac -f flv rtmp://${host}/live/${streamKey}`}
          />
        </section>
      )
    case 'WHIP':
      return (
        <section class="stream-how">
          <p class="muted">
            OBS from version 30 on: Service WHIP. Also phones and browsers that publish by WHIP.
          </p>
          <Secret label="Server" text={`https://${host}:8889/whip`} />
          <Secret label="Bearer Token" text={streamKey} />
          <p class="muted">
            Or from a browser: <a href="/publish">Publish</a>
          </p>
        </section>
      )
    case 'Pictures':
      return (
        <section class="stream-how">
          <p class="muted">A doorbell or a script: each JPEG or PNG becomes a frame.</p>
          <Secret
            label="Command"
            text={`curl --data-binary @picture.jpg -H 'Content-Type: image/jpeg' -H 'Authorization: Bearer ${streamKey}' https://${host}:8890/pictures`}
          />
          <p class="muted">
            Ports are those of the settings of the device; without a certificate it is http instead of https.
          </p>
        </section>
      )
  }
}
