import { useState } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import { Confirm } from '../parts/confirm.tsx'
import { say } from '../parts/said.tsx'
import { Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import type { KeptScenario, Revision } from '../scenario-types.ts'
import * as scenarios from '../scenarios.ts'
import { Difference } from './scenario-difference.tsx'
import { sentence } from './scenario-editing.ts'

/** What it was before: who changed what and when, and back to it. */

const WORDS: Readonly<Record<string, string>> = {
  create: 'made',
  change: 'changed',
  publish: 'published',
  pause: 'paused',
  delete: 'deleted',
}

export function History({
  kept,
  hasUnsaved,
  taken,
}: {
  readonly kept: KeptScenario
  readonly hasUnsaved: boolean
  /** It is as it was, and so is its form. */
  readonly taken: (kept: KeptScenario) => void
}) {
  const newest = useLoaded(`revisions of ${kept.id} ${kept.revision}`, (signal) =>
    scenarios.revisions(kept.id, undefined, signal),
  )
  const [earlier, setEarlier] = useState<readonly Revision[]>([])
  const oldest = (earlier.at(-1) ?? newest.value?.items.at(-1))?.revision
  async function more(): Promise<void> {
    try {
      const { items } = await scenarios.revisions(kept.id, oldest)
      setEarlier([...earlier, ...items])
    } catch (error) {
      say(sentence(error), { isError: true })
    }
  }
  const [chosen, setChosen] = useState<readonly number[]>([])
  const [back, setBack] = useState<number | undefined>(undefined)
  const toggle = (revision: number) =>
    setChosen((old) =>
      old.includes(revision) ? old.filter((one) => one !== revision) : [...old, revision].slice(-2),
    )
  const [first, second] = [...chosen].sort((a, b) => a - b)
  const [from, to] = second === undefined ? [first, kept.revision] : [first, second]
  return (
    <div class="history">
      <section aria-labelledby="revisions">
        <h2 id="revisions">Versions</h2>
        <p class="muted">Choose one to compare it with now, or two to compare them.</p>
        <Shown of={newest} waiting={<Waiting rows={3} />}>
          {({ items }) => (
            <ol class="revisions">
              {[...items, ...earlier]
                .sort((a, b) => b.revision - a.revision)
                .map(({ revision, atMs, by, what }) => (
                  <li
                    key={revision}
                    class="revision"
                    data-chosen={chosen.includes(revision) ? '' : undefined}
                  >
                    <label>
                      <input
                        type="checkbox"
                        checked={chosen.includes(revision)}
                        onChange={() => toggle(revision)}
                      />
                      <span>
                        <strong>{revision}</strong> {WORDS[what] ?? what} by <span class="breaks">{by}</span>{' '}
                        <span class="muted">
                          <When atMs={atMs} />
                        </span>
                      </span>
                    </label>
                    {revision === kept.revision ? (
                      <span class="badge">Now</span>
                    ) : (
                      <button type="button" class="button" onClick={() => setBack(revision)}>
                        Roll back<span class="visually-hidden"> to version {revision}</span>
                      </button>
                    )}
                  </li>
                ))}
            </ol>
          )}
        </Shown>
        {oldest !== undefined && oldest > 1 && (
          <p>
            <button type="button" class="button" onClick={() => void more()}>
              Earlier versions
            </button>
          </p>
        )}
      </section>
      <section aria-labelledby="difference">
        <h2 id="difference">
          {from === undefined || to === undefined || from === to
            ? 'What was different'
            : `From version ${from} to ${to === kept.revision ? 'now' : to}`}
        </h2>
        {from === undefined || to === undefined ? (
          <p class="muted">No version is chosen.</p>
        ) : (
          <Compared id={kept.id} from={from} to={to} />
        )}
      </section>
      {back !== undefined && (
        <Confirm
          title={`Roll back to version ${back}?`}
          word="Roll back"
          onClose={() => setBack(undefined)}
          act={async () => {
            const now = await scenarios.rollBack(kept.id, back)
            taken(now)
            say(`It is again as in version ${back}.`)
          }}
        >
          It becomes a new version that is the same as version {back}; nothing is lost from here.
          {kept.state === 'published' ? ' Its cameras take it up at once.' : ''}
          {hasUnsaved ? ' What you have changed and not saved is dropped.' : ''}
        </Confirm>
      )}
    </div>
  )
}

function Compared({ id, from, to }: { readonly id: string; readonly from: number; readonly to: number }) {
  const both = useLoaded(`difference ${id} ${from} ${to}`, (signal) =>
    Promise.all([scenarios.revision(id, from, signal), scenarios.revision(id, to, signal)]),
  )
  return (
    <Shown of={both} waiting={<Waiting rows={2} />}>
      {([before, now]) => (
        <Difference before={before.document} now={now.document} words={['Before', 'Then']} />
      )}
    </Shown>
  )
}
