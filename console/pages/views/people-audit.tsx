import { useState } from 'preact/hooks'
import type { AuditEntry } from '../../api/audit.ts'
import * as access from '../access.ts'
import { useLoaded } from '../loaded.ts'
import { Empty, Failed, Shown } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'

const PAGE_COUNT = '50'

/** Who did what, newest first. It only grows. */
export function Audit() {
  const [user, setUser] = useState('')
  const [what, setWhat] = useState('')
  const query = { limit: PAGE_COUNT, ...(user && { user }), ...(what && { what }) }
  const first = useLoaded(`audit ${user} ${what}`, (signal) => access.audit(query, signal))
  const [more, setMore] = useState<
    { of: unknown; items: readonly AuditEntry[]; next: string | null } | undefined
  >(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const rest = more?.of === first.value ? more : undefined
  const next = rest ? rest.next : first.value?.next
  async function load(): Promise<void> {
    if (!next) return
    setError(undefined)
    try {
      const page = await access.audit({ ...query, cursor: next })
      setMore({ of: first.value, items: [...(rest?.items ?? []), ...page.items], next: page.next })
    } catch (problem) {
      setError(problem)
    }
  }
  return (
    <section aria-labelledby="audit">
      <h2 id="audit">Audit log</h2>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label class="field">
          <span>User</span>
          <input
            type="search"
            value={user}
            onChange={({ currentTarget: { value } }) => setUser(value.trim())}
          />
        </label>
        <label class="field">
          <span>What</span>
          <input
            type="search"
            placeholder="camera.command"
            value={what}
            onChange={({ currentTarget: { value } }) => setWhat(value.trim())}
          />
        </label>
      </form>
      <Shown of={first}>
        {({ items }) => {
          const all = [...items, ...(rest?.items ?? [])]
          return all.length === 0 ? (
            <Empty title={user || what ? 'No entries match.' : 'No entries yet.'}>
              Sign-ins, changes, commands, exports and deletions appear here.
            </Empty>
          ) : (
            <div class="table-scroll">
              <table class="table">
                <thead>
                  <tr>
                    <th scope="col">When</th>
                    <th scope="col">Who</th>
                    <th scope="col">What</th>
                    <th scope="col">Target</th>
                    <th scope="col">Address</th>
                  </tr>
                </thead>
                <tbody>
                  {all.map((entry) => (
                    <tr key={entry.id}>
                      <td class="nowrap">
                        <When atMs={entry.atMs} />
                      </td>
                      <td class="breaks">
                        {entry.user} <span class="muted">{entry.by}</span>
                      </td>
                      <td class="mono">{entry.what}</td>
                      <td class="breaks">
                        {entry.target}
                        {entry.detail !== null && Object.keys(entry.detail).length > 0 && (
                          <details class="details">
                            <summary>Details</summary>
                            <pre>{JSON.stringify(entry.detail, undefined, 2)}</pre>
                          </details>
                        )}
                      </td>
                      <td class="mono">{entry.address ?? ''}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }}
      </Shown>
      {error !== undefined && <Failed error={error} again={() => void load()} />}
      {next && (
        <p class="end">
          <button type="button" class="button" onClick={() => void load()}>
            Show older entries
          </button>
        </p>
      )}
    </section>
  )
}
