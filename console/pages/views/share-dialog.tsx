import { useState } from 'preact/hooks'
import type { NewShare } from '../../api/shares.ts'
import * as access from '../access.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Failed } from '../parts/states.tsx'
import { date } from '../words.ts'

const DAY_S = 86_400
const DAYS = [1, 7, 30] as const

/** A link for somebody without an account: to one face, to a search, or to a stretch of a recording. Its address is shown once, here. */
export function ShareDialog({
  of,
  onClose,
}: {
  readonly of:
    | { readonly detection: string }
    | { readonly filter: NonNullable<NewShare['filter']> }
    | { readonly recording: NonNullable<NewShare['recording']> }
  readonly onClose: () => void
}) {
  const [name, setName] = useState('')
  const [days, setDays] = useState<number>(7)
  const [address, setAddress] = useState<string | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const [isCopied, setCopied] = useState(false)
  const what =
    'recording' in of
      ? ({ title: 'Share this stretch', seen: 'this stretch of the recording' } as const)
      : 'detection' in of
        ? ({ title: 'Share this face', seen: 'this face' } as const)
        : ({ title: 'Share this search', seen: 'the faces that this search finds now' } as const)
  async function make(): Promise<void> {
    setError(undefined)
    try {
      const made = await access.makeShare({ name, expiresInS: days * DAY_S, ...of })
      setAddress(new URL(made.address, location.href).href)
    } catch (problem) {
      setError(problem)
    }
  }
  return (
    <Dialog title={what.title} onClose={onClose}>
      {address === undefined ? (
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault()
            void make()
          }}
        >
          <p class="muted">
            Anyone who has the link sees {what.seen} without an account, and nothing else. You can revoke it
            at any time.
          </p>
          <label class="field">
            <span>Title (the recipient sees it)</span>
            <input
              required
              maxLength={100}
              value={name}
              placeholder="Monday at the gate"
              onInput={({ currentTarget: { value } }) => setName(value)}
            />
          </label>
          <fieldset class="choices">
            <legend>Expires</legend>
            {DAYS.map((value) => (
              <label key={value}>
                <input type="radio" name="days" checked={days === value} onChange={() => setDays(value)} />
                {value === 1 ? 'in a day' : `in ${value} days`}
              </label>
            ))}
          </fieldset>
          {error !== undefined && <Failed error={error} />}
          <button type="submit" class="button button-strong">
            Make the link
          </button>
        </form>
      ) : (
        <div class="form">
          <p>It is shown only once. It expires on {date(Date.now() + days * DAY_S * 1000)}.</p>
          <label class="field">
            <span>Link</span>
            <input readOnly value={address} onFocus={({ currentTarget }) => currentTarget.select()} />
          </label>
          <p class="buttons">
            <button
              type="button"
              class="button button-strong"
              onClick={() => void navigator.clipboard.writeText(address).then(() => setCopied(true))}
            >
              {isCopied ? 'Copied' : 'Copy'}
            </button>
            <button type="button" class="button" onClick={onClose}>
              Done
            </button>
          </p>
        </div>
      )}
    </Dialog>
  )
}
