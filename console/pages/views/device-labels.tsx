import { useState } from 'preact/hooks'
import type { DeviceDocument } from '../device-types.ts'
import { useAsOpened } from '../parts/as-opened.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Failed } from '../parts/states.tsx'

const listOf = (text: string) => [
  ...new Set(
    text
      .split(',')
      .map((it) => it.trim())
      .filter((it) => it !== ''),
  ),
]

/** Labels of a device and of its cameras: by them scenarios find what they are for. */
export function LabelsForm({
  cameras,
  onClose,
  ...latest
}: {
  readonly document: DeviceDocument
  readonly cameras: readonly string[]
  readonly save: (next: DeviceDocument, done: string) => Promise<void>
  readonly onClose: () => void
}) {
  const { document, save } = useAsOpened(latest)
  const [labels, setLabels] = useState(document.labels.join(', '))
  const [ofCameras, setOfCameras] = useState<Readonly<Record<string, string>>>(
    Object.fromEntries(cameras.map((name) => [name, (document.cameraLabels[name] ?? []).join(', ')])),
  )
  const [error, setError] = useState<unknown>(undefined)
  const [isWorking, setWorking] = useState(false)
  async function act(): Promise<void> {
    setWorking(true)
    setError(undefined)
    const cameraLabels = { ...document.cameraLabels }
    for (const [name, text] of Object.entries(ofCameras)) {
      const list = listOf(text)
      if (list.length > 0) cameraLabels[name] = list
      else delete cameraLabels[name]
    }
    try {
      await save({ ...document, labels: listOf(labels), cameraLabels }, 'The labels were saved.')
    } catch (problem) {
      setError(problem)
      setWorking(false)
    }
  }
  return (
    <Dialog title="Labels" onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          void act()
        }}
      >
        <p class="muted">
          A scenario can be for all cameras with a label, such as “entrance”. Several are separated by commas.
        </p>
        <label class="field">
          <span>Of the device, and so of all of its cameras</span>
          <input
            value={labels}
            maxLength={2000}
            onInput={({ currentTarget: { value } }) => setLabels(value)}
          />
        </label>
        {cameras.map((name) => (
          <label key={name} class="field">
            <span>Of {name}</span>
            <input
              value={ofCameras[name] ?? ''}
              maxLength={2000}
              onInput={({ currentTarget: { value } }) => setOfCameras((old) => ({ ...old, [name]: value }))}
            />
          </label>
        ))}
        {error !== undefined && <Failed error={error} />}
        <button type="submit" class="button button-strong" disabled={isWorking}>
          Save
        </button>
      </form>
    </Dialog>
  )
}
