import { useEffect, useState } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import { say } from '../parts/said.tsx'
import { Empty, Failed, Shown } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import type { Hindrance } from '../push.ts'
import * as push from '../push.ts'

/** Notices on this device, and one's other browsers that have them. */
export function NoticesHere() {
  const browsers = useLoaded('push', push.browsers)
  const [own, setOwn] = useState<string | undefined>(undefined)
  const [isWorking, setWorking] = useState(false)
  const [error, setError] = useState<unknown>(undefined)
  const [hindrance, setHindrance] = useState(push.hindrance)
  const look = () => {
    setHindrance(push.hindrance())
    void push.here().then(setOwn, () => setOwn(undefined))
  }
  useEffect(look, [])
  const items = browsers.value?.items ?? []
  const isOn = own !== undefined && items.some(({ id }) => id === own)

  async function attempt(act: () => Promise<void>, done: string): Promise<void> {
    setWorking(true)
    setError(undefined)
    try {
      await act()
      say(done)
    } catch (problem) {
      setError(problem)
    }
    look()
    browsers.again()
    setWorking(false)
  }
  return (
    <section aria-labelledby="notices-here" class="notices-here">
      <h2 id="notices-here">Notices on this device</h2>
      {hindrance ? (
        <Hindered by={hindrance} />
      ) : (
        <>
          <label class="notices-switch">
            <input
              type="checkbox"
              checked={isOn}
              disabled={isWorking}
              onChange={() =>
                void (isOn
                  ? attempt(push.switchOff, 'This device shows no notices any more.')
                  : attempt(push.switchOn, 'This device shows notices from now on.'))
              }
            />
            <span>Show notices on this device, also while the console is not open</span>
          </label>
          <p class="muted">
            They come for cameras that you may see, from rules that name a channel “Browsers and phones”. They
            end when you sign out here.
          </p>
        </>
      )}
      {error !== undefined && <Failed error={error} />}
      <h3>Your browsers with notices</h3>
      <Shown of={browsers}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="None yet.">Switch notices on in each browser and phone that shall show them.</Empty>
          ) : (
            <ul class="cards">
              {items.map((it) => (
                <li key={it.id} class="card">
                  <div class="card-text">
                    <strong class="breaks">{it.name}</strong>{' '}
                    {it.id === own && <span class="badge">this one</span>}
                    <p class="muted">
                      Since <When atMs={it.createdAtMs} />,{' '}
                      {it.lastSentMs === null ? (
                        'nothing was sent yet'
                      ) : (
                        <>
                          last notice <When atMs={it.lastSentMs} />
                        </>
                      )}
                    </p>
                  </div>
                  <button
                    type="button"
                    class="button button-danger"
                    disabled={isWorking}
                    onClick={() =>
                      void attempt(
                        () => (it.id === own ? push.switchOff() : push.forgetBrowser(it.id)),
                        `${it.name} shows no notices any more.`,
                      )
                    }
                  >
                    Remove
                  </button>
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
    </section>
  )
}

function Hindered({ by }: { readonly by: Hindrance }) {
  switch (by) {
    case 'not secure':
      return (
        <p class="note">
          Browsers show notices only of pages that come over https. Open the console by an https address: see
          “http.tls” in console.yaml.
        </p>
      )
    case 'not installed':
      return (
        <p class="note">
          An iPhone or iPad shows notices only of pages on its home screen. In Safari: Share, Add to Home
          Screen; then open Sightline from there, and come back to this page.
        </p>
      )
    case 'denied':
      return (
        <p class="note">
          This browser was told to show no notices of this page. Allow them in its settings for this page (the
          sign beside the address), then reload.
        </p>
      )
    default:
      return <p class="note">This browser cannot show notices while the console is not open (Web Push).</p>
  }
}
