import { useState } from 'preact/hooks'
import type { NewUser, User } from '../../api/users.ts'
import * as access from '../access.ts'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { Confirm } from '../parts/confirm.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { say } from '../parts/said.tsx'
import { Secret } from '../parts/secret.tsx'
import { Empty, Failed, Shown } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { me } from '../session.ts'
import { cameraKey } from '../words.ts'

const ROLES = {
  viewer: 'sees faces and cameras',
  analyst: 'sees and exports faces, and shares them',
  operator: 'also watches live, commands cameras, deletes faces, sees the line',
  admin: 'does everything, users included',
} as const satisfies Record<User['role'], string>
type Role = User['role']

const RIGHTS = {
  live: 'Live picture',
  recordings: 'Recordings',
  export: 'Export',
} as const

type Doing =
  | { readonly is: 'add' }
  | { readonly is: 'change' | 'remove' | 'password'; readonly user: User }
  | { readonly is: 'secret'; readonly name: string; readonly password: string }

export function Users() {
  const users = useLoaded('users', access.users)
  const [doing, setDoing] = useState<Doing | undefined>(undefined)
  const close = () => setDoing(undefined)
  return (
    <section aria-labelledby="users">
      <div class="section-head">
        <h2 id="users">Users</h2>
        {users.value?.canChange && (
          <button type="button" class="button button-strong" onClick={() => setDoing({ is: 'add' })}>
            Add a user
          </button>
        )}
      </div>
      {users.value?.canChange === false && (
        <p class="muted">Users cannot be changed here: there is no users file, or its folder is read-only.</p>
      )}
      <Shown of={users}>
        {({ items, canChange }) =>
          items.length === 0 ? (
            <Empty title="No users.">
              {canChange
                ? 'Add the first one.'
                : 'Name a users file under “access.usersFile” in the configuration.'}
            </Empty>
          ) : (
            <ul class="cards">
              {items.map((user) => (
                <li key={user.name} class="card">
                  <div class="card-text">
                    <strong class="breaks">{user.name}</strong> <span class="badge">{user.role}</span>
                    <p class="muted">
                      {scopeWords(user)}
                      {user.rights.length > 0 &&
                        `; ${user.rights.map((right) => RIGHTS[right].toLowerCase()).join(', ')}`}
                    </p>
                    {user.signsInBy !== 'password' && (
                      <p class="muted">
                        {user.signsInBy === 'openid' ? 'Signs in with OpenID Connect' : 'Has no password'}
                        {user.signedInAtMs !== null && (
                          <>
                            , last <When atMs={user.signedInAtMs} />
                          </>
                        )}
                      </p>
                    )}
                  </div>
                  {canChange && user.signsInBy !== 'openid' && (
                    <div class="buttons">
                      <button type="button" class="button" onClick={() => setDoing({ is: 'change', user })}>
                        Change
                      </button>
                      <button type="button" class="button" onClick={() => setDoing({ is: 'password', user })}>
                        New password
                      </button>
                      <button
                        type="button"
                        class="button button-danger"
                        disabled={user.name === me.value?.name}
                        onClick={() => setDoing({ is: 'remove', user })}
                      >
                        Remove
                      </button>
                    </div>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
      {doing?.is === 'add' && (
        <UserDialog
          onClose={close}
          done={(name, password) => {
            users.again()
            setDoing(password === null ? undefined : { is: 'secret', name, password })
          }}
        />
      )}
      {doing?.is === 'change' && (
        <UserDialog
          user={doing.user}
          onClose={close}
          done={() => {
            users.again()
            close()
            say(`${doing.user.name} was changed. The change applies at once.`)
          }}
        />
      )}
      {doing?.is === 'remove' && (
        <Confirm
          title={`Remove ${doing.user.name}?`}
          word="Remove"
          onClose={close}
          act={async () => {
            await access.removeUser(doing.user.name)
            users.again()
            say(`${doing.user.name} was removed, and is signed out.`)
          }}
        >
          The sessions, tokens and shares of this user end at once.
        </Confirm>
      )}
      {doing?.is === 'password' && (
        <Confirm
          title={`Set a new password for ${doing.user.name}?`}
          word="Make a new one"
          // A new password leads to the dialog that shows it.
          onClose={() => setDoing((now) => (now?.is === 'secret' ? now : undefined))}
          act={async () => {
            const { password } = await access.newPassword(doing.user.name)
            if (password !== null) setDoing({ is: 'secret', name: doing.user.name, password })
          }}
        >
          The old password stops working, and all sessions of this user end.
        </Confirm>
      )}
      {doing?.is === 'secret' && (
        <Dialog title={`The password of ${doing.name}`} onClose={close}>
          <p>It is shown only once. Send it over a secure channel.</p>
          <Secret label="Password" text={doing.password} />
        </Dialog>
      )}
    </section>
  )
}

function scopeWords({ sites, cameras }: User): string {
  if (sites === null && cameras === null) return 'Everything'
  const parts = [...(sites ?? []), ...(cameras ?? [])]
  return parts.length === 0 ? 'Nothing' : `Only ${parts.join(', ')}`
}

function UserDialog({
  user,
  done,
  onClose,
}: {
  readonly user?: User
  readonly done: (name: string, password: string | null) => void
  readonly onClose: () => void
}) {
  const cameras = useLoaded('people cameras', api.cameras)
  const [name, setName] = useState(user?.name ?? '')
  const [role, setRole] = useState<Role>(user?.role ?? 'viewer')
  const [isConfined, setConfined] = useState(
    user !== undefined && (user.sites !== null || user.cameras !== null),
  )
  const [places, setPlaces] = useState<ReadonlySet<string>>(
    new Set([...(user?.sites ?? []), ...(user?.cameras ?? [])]),
  )
  const [rights, setRights] = useState<ReadonlySet<string> | undefined>(user && new Set(user.rights))
  const [error, setError] = useState<unknown>(undefined)
  const items = cameras.value?.items ?? []
  const sites = [...new Set([...items.map(({ site }) => site), ...(user?.sites ?? [])])].sort()
  const paths = [...new Set([...items.map(cameraKey), ...(user?.cameras ?? [])])].sort()
  const toggle = (place: string) =>
    setPlaces((old) => {
      const next = new Set(old)
      if (!next.delete(place)) next.add(place)
      return next
    })

  async function save(): Promise<void> {
    setError(undefined)
    const confined = isConfined && role !== 'admin'
    const body: Omit<NewUser, 'name'> = {
      role,
      sites: confined ? [...places].filter((place) => !place.includes('/')) : null,
      cameras: confined ? [...places].filter((place) => place.includes('/')) : null,
      rights:
        rights === undefined
          ? null
          : (Object.keys(RIGHTS) as (keyof typeof RIGHTS)[]).filter((right) => rights.has(right)),
    }
    try {
      if (user) {
        await access.changeUser(user.name, body)
        done(user.name, null)
      } else {
        const made = await access.addUser({ name, ...body })
        done(name, made.password)
      }
    } catch (problem) {
      setError(problem)
    }
  }
  return (
    <Dialog title={user ? `Change ${user.name}` : 'Add a user'} onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          void save()
        }}
      >
        {!user && (
          <label class="field">
            <span>Name</span>
            <input
              required
              maxLength={200}
              autocomplete="off"
              value={name}
              onInput={({ currentTarget: { value } }) => setName(value)}
            />
          </label>
        )}
        <fieldset class="choices">
          <legend>Role</legend>
          {Object.entries(ROLES).map(([value, what]) => (
            <label key={value}>
              <input
                type="radio"
                name="role"
                checked={role === value}
                onChange={() => {
                  setRole(value as Role)
                  setRights(undefined)
                }}
              />
              <span>
                <strong>{value}</strong> <span class="muted">{what}</span>
              </span>
            </label>
          ))}
        </fieldset>
        {role !== 'admin' && (
          <fieldset class="choices">
            <legend>Sees</legend>
            <label>
              <input type="radio" name="scope" checked={!isConfined} onChange={() => setConfined(false)} />
              every site
            </label>
            <label>
              <input type="radio" name="scope" checked={isConfined} onChange={() => setConfined(true)} />
              only these
            </label>
            {isConfined && (
              <div class="places">
                {sites.map((site) => (
                  <div key={site}>
                    <label>
                      <input type="checkbox" checked={places.has(site)} onChange={() => toggle(site)} />
                      <strong>{site}</strong>
                    </label>
                    {paths
                      .filter((path) => path.startsWith(`${site}/`))
                      .map((path) => (
                        <label key={path} class="place-camera">
                          <input
                            type="checkbox"
                            checked={places.has(site) || places.has(path)}
                            disabled={places.has(site)}
                            onChange={() => toggle(path)}
                          />
                          {path.slice(site.length + 1)}
                        </label>
                      ))}
                  </div>
                ))}
              </div>
            )}
          </fieldset>
        )}
        <fieldset class="choices">
          <legend>Extra rights</legend>
          <label>
            <input
              type="checkbox"
              checked={rights === undefined}
              onChange={() => setRights(rights === undefined ? new Set(user?.rights) : undefined)}
            />
            those of the role
          </label>
          {rights !== undefined &&
            Object.entries(RIGHTS).map(([right, title]) => (
              <label key={right}>
                <input
                  type="checkbox"
                  checked={rights.has(right)}
                  onChange={() => {
                    const next = new Set(rights)
                    if (!next.delete(right)) next.add(right)
                    setRights(next)
                  }}
                />
                {title}
              </label>
            ))}
        </fieldset>
        {error !== undefined && <Failed error={error} />}
        <button type="submit" class="button button-strong">
          {user ? 'Save' : 'Add, and make a password'}
        </button>
      </form>
    </Dialog>
  )
}
