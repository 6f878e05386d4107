import { useState } from 'preact/hooks'
import type { StreamKey } from '../../api/stream-keys.ts'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Failed, Shown } from '../parts/states.tsx'
import * as streams from '../streams.ts'

/** A camera that comes to a device: which device, what it is called, and what a second publisher may. */
export function AddStream({
  added,
  onClose,
}: {
  readonly added: (key: StreamKey) => void
  readonly onClose: () => void
}) {
  const devices = useLoaded('devices', api.devices)
  const [chosen, setChosen] = useState<string | undefined>(undefined)
  const [camera, setCamera] = useState('')
  const [takeOver, setTakeOver] = useState(false)
  const [isWorking, setWorking] = useState(false)
  const [error, setError] = useState<unknown>(undefined)
  return (
    <Dialog title="Add a stream" onClose={onClose}>
      <Shown of={devices}>
        {({ items }) => {
          const known = items.map(({ site, device }) => `${site}/${device}`)
          const path = chosen ?? known[0] ?? ''
          const isOnline = items.some((it) => `${it.site}/${it.device}` === path && it.online)
          if (known.length === 0)
            return <p class="muted">No device is known yet: start an agent, and let it reach the broker.</p>
          const make = async () => {
            setWorking(true)
            setError(undefined)
            const [site = '', device = ''] = path.split('/')
            try {
              added(await streams.add({ site, device, camera, takeOver }))
            } catch (problem) {
              setError(problem)
              setWorking(false)
            }
          }
          return (
            <form
              class="form"
              onSubmit={(event) => {
                event.preventDefault()
                void make()
              }}
            >
              <label class="field">
                <span>Device (it has to listen: “listen” in its settings)</span>
                <select value={path} onChange={({ currentTarget: { value } }) => setChosen(value)}>
                  {known.map((name) => (
                    <option key={name} value={name}>
                      {name}
                    </option>
                  ))}
                </select>
              </label>
              {!isOnline && (
                <p class="note">This device is not connected: it cannot confirm the stream now.</p>
              )}
              <label class="field">
                <span>Name of the camera (it is public; the key is not)</span>
                <input
                  required
                  maxLength={64}
                  pattern="[A-Za-z0-9_\-]+"
                  title="Letters, digits, dash and underscore"
                  value={camera}
                  placeholder="phone"
                  onInput={({ currentTarget: { value } }) => setCamera(value)}
                />
              </label>
              <fieldset class="choices">
                <legend>A second publisher with the same key</legend>
                <label>
                  <input
                    type="radio"
                    name="takeover"
                    checked={!takeOver}
                    onChange={() => setTakeOver(false)}
                  />
                  is refused
                </label>
                <label>
                  <input type="radio" name="takeover" checked={takeOver} onChange={() => setTakeOver(true)} />
                  takes over
                </label>
              </fieldset>
              {error !== undefined && <Failed error={error} />}
              <button type="submit" class="button button-strong" disabled={isWorking}>
                {isWorking ? 'Waiting for the device …' : 'Make the key'}
              </button>
            </form>
          )
        }}
      </Shown>
    </Dialog>
  )
}
