import { useState } from 'preact/hooks'
import * as access from '../access.ts'
import { say } from '../parts/said.tsx'
import { Failed } from '../parts/states.tsx'
import { may, me } from '../session.ts'
import { NoticesHere } from './people-notices.tsx'

const CHARACTERS_MIN = 8

export function You() {
  const person = me.value
  const [current, setCurrent] = useState('')
  const [password, setPassword] = useState('')
  const [error, setError] = useState<unknown>(undefined)
  if (!person) return null
  async function change(): Promise<void> {
    setError(undefined)
    try {
      await access.changeOwnPassword({ current, password })
      setCurrent('')
      setPassword('')
      say('Your password was changed. Your other sessions have ended.')
    } catch (problem) {
      setError(problem)
    }
  }
  const places = [...(person.sites ?? []), ...(person.cameras ?? [])]
  return (
    <>
      <section aria-labelledby="you">
        <h2 id="you">{person.name}</h2>
        <dl class="facts">
          <dt>Role</dt>
          <dd>{person.role}</dd>
          <dt>Sees</dt>
          <dd>
            {person.sites === null && person.cameras === null ? 'Everything' : places.join(', ') || 'Nothing'}
          </dd>
          <dt>May</dt>
          <dd>{person.rights.join(', ')}</dd>
        </dl>
        {person.changesPassword && (
          <form
            class="form form-narrow"
            onSubmit={(event) => {
              event.preventDefault()
              void change()
            }}
          >
            <h3>Change your password</h3>
            <input
              type="text"
              class="visually-hidden"
              autocomplete="username"
              tabIndex={-1}
              aria-hidden="true"
              value={person.name}
              readOnly
            />
            <label class="field">
              <span>Current password</span>
              <input
                type="password"
                required
                autocomplete="current-password"
                value={current}
                onInput={({ currentTarget: { value } }) => setCurrent(value)}
              />
            </label>
            <label class="field">
              <span>New password ({CHARACTERS_MIN} characters or more)</span>
              <input
                type="password"
                required
                minLength={CHARACTERS_MIN}
                autocomplete="new-password"
                value={password}
                onInput={({ currentTarget: { value } }) => setPassword(value)}
              />
            </label>
            {error !== undefined && <Failed error={error} />}
            <button type="submit" class="button button-strong">
              Change password
            </button>
          </form>
        )}
      </section>
      {may('notices') && <NoticesHere />}
    </>
  )
}
