import { useState } from 'preact/hooks'
import type { DeviceDocument, Reported } from '../device-types.ts'
import { DialogForm } from '../parts/dialog-form.tsx'

/** As wire/names.ts has it, for the browser's own check. */
const NAME = '[A-Za-z0-9_][A-Za-z0-9_\\-]{0,62}'

/** A camera that the device's own file does not have: the device opens it before it keeps it. */
export function AddCamera({
  allows,
  taken,
  document,
  save,
  onClose,
}: {
  readonly allows: Reported['allows'] | undefined
  readonly taken: readonly string[]
  readonly document: DeviceDocument
  readonly save: (next: DeviceDocument, done: string) => Promise<void>
  readonly onClose: () => void
}) {
  const [name, setName] = useState('')
  const [source, setSource] = useState('')
  const [username, setUsername] = useState('')
  const [password, setPassword] = useState('')
  const [isUdp, setUdp] = useState(false)
  const isTaken = taken.includes(name)
  async function act(): Promise<void> {
    const made = {
      source,
      ...(username === '' ? {} : { username }),
      ...(password === '' ? {} : { password }),
      ...(isUdp ? { rtspTransport: 'udp' as const } : {}),
    }
    const cameras = { ...document.content.cameras, [name]: made }
    await save({ ...document, content: { ...document.content, cameras } }, `${name} was added.`)
  }
  return (
    <DialogForm
      title="Add a camera"
      submit="Add, and tell the device"
      isReady={!isTaken}
      act={act}
      onClose={onClose}
    >
      <label class="field">
        <span>Name (letters, digits, dashes)</span>
        <input
          required
          maxLength={63}
          pattern={NAME}
          autocomplete="off"
          value={name}
          onInput={({ currentTarget: { value } }) => setName(value)}
        />
      </label>
      {isTaken && <p class="note">The device has a camera of that name.</p>}
      <label class="field">
        <span>Address, such as rtsp://192.168.1.20/stream1</span>
        <input
          required
          maxLength={2000}
          pattern="(rtsps?|rtmps?|https?)://.+"
          title="It begins with rtsp://, rtsps://, rtmp://, rtmps://, http:// or https://"
          autocomplete="off"
          inputMode="url"
          value={source}
          onInput={({ currentTarget: { value } }) => setSource(value)}
        />
      </label>
      <label class="field">
        <span>User of the camera, if it asks for one</span>
        <input
          maxLength={200}
          autocomplete="off"
          value={username}
          onInput={({ currentTarget: { value } }) => setUsername(value)}
        />
      </label>
      <label class="field">
        <span>Password of the camera</span>
        <input
          type="password"
          maxLength={1000}
          autocomplete="new-password"
          value={password}
          onInput={({ currentTarget: { value } }) => setPassword(value)}
        />
      </label>
      <fieldset class="choices">
        <legend class="visually-hidden">Transport</legend>
        <label>
          <input type="checkbox" checked={isUdp} onChange={() => setUdp(!isUdp)} />
          RTSP over UDP (for cameras that do not know TCP)
        </label>
      </fieldset>
      {allows && (
        <p class="muted">
          The device's file allows{' '}
          {allows.networks.length === 0
            ? 'public addresses only. For a camera in its own network, add that under remote.desired.networks in its device.yaml.'
            : `public addresses and ${allows.networks.join(', ')}.`}
        </p>
      )}
    </DialogForm>
  )
}
