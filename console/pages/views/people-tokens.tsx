import { useState } from 'preact/hooks'
import type { NewToken, Token } from '../../api/tokens.ts'
import * as access from '../access.ts'
import { useLoaded } from '../loaded.ts'
import { nowMs } from '../now.ts'
import { Confirm } from '../parts/confirm.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { say } from '../parts/said.tsx'
import { Secret } from '../parts/secret.tsx'
import { Empty, Failed, Shown } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { may, me } from '../session.ts'
import { date } from '../words.ts'
import { Whose, type WhoseValue } from './people-whose.tsx'

type Right = NewToken['rights'][number]

const RIGHT_WORDS: Readonly<Record<Right, string>> = {
  see: 'See faces and cameras',
  live: 'Live picture',
  recordings: 'Recordings',
  export: 'Export',
  review: 'Mark as reviewed',
  share: 'Make links',
  streams: 'Cameras that come to a device, and their keys',
  command: 'Command cameras',
  forget: 'Delete faces',
  flow: 'Programs and their books',
  notices: 'Notices of what it sees',
  scenarios: 'Scenarios, channels and what devices shall be',
  people: 'Users, tokens, shares, audit',
}
const DAYS = [7, 30, 90, 365] as const
const DAY_S = 86_400

/** For programs: named, limited, until a day; shown once. */
export function Tokens() {
  const [whose, setWhose] = useState<WhoseValue>('mine')
  const tokens = useLoaded(`tokens ${whose}`, (signal) => access.tokens(whose, signal))
  const [isMaking, setMaking] = useState(false)
  const [secret, setSecret] = useState<string | undefined>(undefined)
  const [ending, setEnding] = useState<Token | undefined>(undefined)
  return (
    <section aria-labelledby="tokens">
      <div class="section-head">
        <h2 id="tokens">Tokens</h2>
        <div class="buttons">
          {may('people') && <Whose whose={whose} choose={setWhose} />}
          <button type="button" class="button button-strong" onClick={() => setMaking(true)}>
            Make a token
          </button>
        </div>
      </div>
      <p class="muted">
        A program sends a token instead of a password: <code>Authorization: Bearer TOKEN</code>. See{' '}
        <a href="/api">the API</a>.
      </p>
      <Shown of={tokens}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="No tokens.">
              Make one for each program, so that each can be revoked on its own.
            </Empty>
          ) : (
            <ul class="cards">
              {items.map((token) => (
                <li key={token.id} class="card">
                  <div class="card-text">
                    <strong class="breaks">{token.name}</strong>{' '}
                    {whose === 'all' && <span class="badge">{token.user}</span>}
                    {token.expiresAtMs < nowMs.value && <span class="badge badge-bad">expired</span>}
                    <p class="muted">
                      {token.rights.map((right) => RIGHT_WORDS[right].toLowerCase()).join(', ')}
                      {(token.sites !== null || token.cameras !== null) &&
                        `; only ${[...(token.sites ?? []), ...(token.cameras ?? [])].join(', ')}`}
                    </p>
                    <p class="muted">
                      Created <When atMs={token.createdAtMs} />, expires {date(token.expiresAtMs)},{' '}
                      {token.usedAtMs === null ? (
                        'never used'
                      ) : (
                        <>
                          last used <When atMs={token.usedAtMs} />
                        </>
                      )}
                    </p>
                  </div>
                  <div class="buttons">
                    <button type="button" class="button button-danger" onClick={() => setEnding(token)}>
                      Revoke
                    </button>
                  </div>
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
      {isMaking && (
        <Make
          onClose={() => setMaking(false)}
          done={(made) => {
            setMaking(false)
            setSecret(made)
            tokens.again()
          }}
        />
      )}
      {secret !== undefined && (
        <Dialog title="Your token" onClose={() => setSecret(undefined)}>
          <p>It is shown only once. Anyone who has it has its rights.</p>
          <Secret label="Token" text={secret} />
        </Dialog>
      )}
      {ending && (
        <Confirm
          title={`Revoke “${ending.name}”?`}
          word="Revoke"
          onClose={() => setEnding(undefined)}
          act={async () => {
            await access.revokeToken(ending.id)
            tokens.again()
            say('The token was revoked.')
          }}
        >
          Programs that use it are refused from now on.
        </Confirm>
      )}
    </section>
  )
}

function Make({ done, onClose }: { readonly done: (secret: string) => void; readonly onClose: () => void }) {
  const own = (me.value?.rights ?? []) as readonly Right[]
  const [name, setName] = useState('')
  const [rights, setRights] = useState<ReadonlySet<Right>>(new Set(own.filter((right) => right === 'see')))
  const [days, setDays] = useState<number>(90)
  const [error, setError] = useState<unknown>(undefined)
  async function make(): Promise<void> {
    setError(undefined)
    try {
      const { secret } = await access.makeToken({ name, rights: [...rights], expiresInS: days * DAY_S })
      done(secret)
    } catch (problem) {
      setError(problem)
    }
  }
  return (
    <Dialog title="Make a token" onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          void make()
        }}
      >
        <label class="field">
          <span>Name (what it is for)</span>
          <input
            required
            maxLength={100}
            value={name}
            placeholder="Nightly report"
            onInput={({ currentTarget: { value } }) => setName(value)}
          />
        </label>
        <fieldset class="choices">
          <legend>Rights</legend>
          {own.map((right) => (
            <label key={right}>
              <input
                type="checkbox"
                checked={rights.has(right)}
                onChange={() =>
                  setRights((old) => {
                    const next = new Set(old)
                    if (!next.delete(right)) next.add(right)
                    return next
                  })
                }
              />
              {RIGHT_WORDS[right]}
            </label>
          ))}
        </fieldset>
        <fieldset class="choices choices-row">
          <legend>Expires</legend>
          {DAYS.map((value) => (
            <label key={value}>
              <input type="radio" name="days" checked={days === value} onChange={() => setDays(value)} />
              {value === 365 ? 'in a year' : `in ${value} days`}
            </label>
          ))}
        </fieldset>
        {error !== undefined && <Failed error={error} />}
        <button type="submit" class="button button-strong" disabled={rights.size === 0}>
          Make the token
        </button>
      </form>
    </Dialog>
  )
}
