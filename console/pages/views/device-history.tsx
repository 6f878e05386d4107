import { useState } from 'preact/hooks'
import { pathWords } from '../device-settings.ts'
import type { DeviceDesired } from '../device-types.ts'
import * as api from '../devices.ts'
import { useLoaded } from '../loaded.ts'
import { Dialog } from '../parts/dialog.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Failed, Shown } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'

/** Who changed what of a device, and back to how it was. */
export function DeviceHistory({
  address,
  is,
  again,
  onClose,
}: {
  readonly address: { readonly site: string; readonly device: string }
  readonly is: DeviceDesired
  readonly again: () => void
  readonly onClose: () => void
}) {
  const revisions = useLoaded(`revisions ${address.site}/${address.device} ${is.revision}`, (signal) =>
    api.revisions(address, signal),
  )
  const [error, setError] = useState<unknown>(undefined)
  const [isWorking, setWorking] = useState(false)
  async function back(revision: number): Promise<void> {
    setWorking(true)
    setError(undefined)
    try {
      await api.rollBack(address, revision)
      say(`As it was in revision ${revision}. The device is told.`)
      again()
      onClose()
    } catch (problem) {
      setError(problem)
      setWorking(false)
    }
  }
  return (
    <Dialog title={`History of ${address.device}`} wide onClose={onClose}>
      {error !== undefined && <Failed error={error} />}
      <Shown of={revisions}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nobody has changed it from here yet." />
          ) : (
            <ol class="cards">
              {items.map((it) => (
                <li key={it.revision} class="card">
                  <div class="card-text">
                    <strong>Revision {it.revision}</strong>{' '}
                    {it.revision === is.revision && <span class="badge">now</span>}
                    <p class="muted">
                      {it.what}, by {it.by}, <When atMs={it.atMs} />
                    </p>
                    {it.changes && it.changes.length > 0 && (
                      <ul class="plain device-changes">
                        {it.changes.map(({ path, before, after }) => (
                          <li key={path}>
                            {pathWords(path.replace(/^content\./, '').split('.'))}:{' '}
                            <span class="muted">{shown(before)} →</span> {shown(after)}
                          </li>
                        ))}
                      </ul>
                    )}
                  </div>
                  {it.revision !== is.revision && (
                    <button
                      type="button"
                      class="button"
                      disabled={isWorking}
                      onClick={() => void back(it.revision)}
                    >
                      Back to this
                    </button>
                  )}
                </li>
              ))}
            </ol>
          )
        }
      </Shown>
    </Dialog>
  )
}

const SHOWN_CHARACTERS_MAX = 80

function shown(value: unknown): string {
  if (value === undefined) return 'not said'
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text
}
