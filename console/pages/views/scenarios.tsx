import { useState } from 'preact/hooks'
import { useEvery, useLoaded } from '../loaded.ts'
import { nowMs } from '../now.ts'
import { Confirm } from '../parts/confirm.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { icons } from '../parts/icons.tsx'
import { useNear } from '../parts/near.ts'
import { say } from '../parts/said.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { go } from '../router.ts'
import type { KeptScenario } from '../scenario-types.ts'
import type { Provided, Suspension } from '../scenarios.ts'
import * as scenarios from '../scenarios.ts'
import { NEW_SCENARIO } from '../scenarios.ts'
import { style } from '../styles.ts'
import { clock, count } from '../words.ts'
import { iconOf } from './rule-words.ts'
import { ScenarioIs } from './scenario-state.tsx'
import { scheduleWords } from './schedule-hours.ts'

await style('scenarios.css')

/** What is looked for, where, and who hears of it. */

const REFRESH_MS = 30_000
const SUSPEND_S = 3600
const DAY_MS = 86_400_000
/** Cameras that are named; of more, how many. */
const NAMED_MAX = 4

export default function ScenariosPage() {
  const all = useLoaded('scenarios', scenarios.scenarios)
  const provided = useLoaded('provided scenarios', scenarios.provided)
  const suspended = useLoaded('suspensions', scenarios.suspensions)
  const [isNew, setNew] = useState(false)
  useEvery(REFRESH_MS, () => {
    all.again()
    suspended.again()
  })
  const items = all.value?.items ?? []
  const published = items.filter(({ state }) => state === 'published').length
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Scenarios</h1>
          <p class="page-sub">
            {items.length === 0
              ? 'What is looked for, where, and who hears of it.'
              : `${published} of ${count(items.length, 'scenario')} published`}
          </p>
        </div>
        {items.length > 0 && (
          <button type="button" class="button button-strong" onClick={() => setNew(true)}>
            New scenario
          </button>
        )}
      </header>
      <Shown of={all} waiting={<Waiting rows={3} />}>
        {() =>
          items.length === 0 ? (
            <>
              <Empty title="No scenarios yet.">
                Begin with one of these, or with an empty one. Nothing happens before you publish it.
              </Empty>
              <Shown of={provided}>{(it) => <ProvidedCards items={it.items} />}</Shown>
            </>
          ) : (
            <ul class="cards">
              {items.map((scenario) => (
                <li key={scenario.id}>
                  <ScenarioCard
                    scenario={scenario}
                    suspension={(suspended.value?.items ?? []).find((it) => isOfAll(it, scenario))}
                    again={() => {
                      all.again()
                      suspended.again()
                    }}
                  />
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
      {isNew && (
        <Dialog title="New scenario" wide onClose={() => setNew(false)}>
          <Shown of={provided}>{(it) => <ProvidedCards items={it.items} />}</Shown>
        </Dialog>
      )}
    </div>
  )
}

const isOfAll = ({ scenario, rule, camera, untilMs }: Suspension, { id }: KeptScenario) =>
  scenario === id && !rule && !camera && untilMs > nowMs.value

function ProvidedCards({ items }: { readonly items: readonly Provided[] }) {
  return (
    <ul class="provided">
      {items.map((it) => (
        <li key={it.id}>
          <a class="provided-card" href={`${NEW_SCENARIO}?from=${encodeURIComponent(it.id)}`}>
            <span class="provided-picture">{icons[iconOf(it.document)]()}</span>
            <strong>{it.name}</strong>
            <span class="muted">{it.description}</span>
          </a>
        </li>
      ))}
      <li>
        <a class="provided-card" href={NEW_SCENARIO}>
          <span class="provided-picture">{icons.scenarios()}</span>
          <strong>An empty one</strong>
          <span class="muted">You choose cameras, settings, zones and rules yourself.</span>
        </a>
      </li>
    </ul>
  )
}

function ScenarioCard({
  scenario,
  suspension,
  again,
}: {
  readonly scenario: KeptScenario
  readonly suspension: Suspension | undefined
  readonly again: () => void
}) {
  const [isDeleting, setDeleting] = useState(false)
  const [isWorking, setWorking] = useState(false)
  const { id, name, document, state } = scenario
  const address = `/scenarios/${encodeURIComponent(id)}`
  async function act(work: () => Promise<unknown>, done: string): Promise<void> {
    setWorking(true)
    try {
      await work()
      say(done)
      again()
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    setWorking(false)
  }
  return (
    <article class="card scenario" data-is={state}>
      <div class="card-text">
        <div class="scenario-head">
          <h2>
            <a href={address}>{name}</a>
          </h2>
          <ScenarioIs scenario={scenario} />
        </div>
        {document.description && <p class="muted scenario-what">{document.description}</p>}
        {suspension && (
          <p class="note">
            No notices until {clock(suspension.untilMs)}, by {suspension.by}.{' '}
            <button
              type="button"
              class="link-button"
              onClick={() => void act(() => scenarios.resume(id), `${name} sends notices again.`)}
            >
              Send them again
            </button>
          </p>
        )}
        <ScenarioFacts scenario={scenario} />
        <p class="muted scenario-changed">
          Changed <When atMs={scenario.changedAtMs} /> by {scenario.changedBy}
        </p>
      </div>
      <p class="buttons">
        {state === 'published' ? (
          <button
            type="button"
            class="button"
            disabled={isWorking}
            onClick={() => void act(() => scenarios.pause(id), `${name} is paused.`)}
          >
            Pause
          </button>
        ) : (
          <button
            type="button"
            class="button button-strong"
            disabled={isWorking}
            onClick={() => void act(() => scenarios.publish(id), `${name} is published.`)}
          >
            Publish
          </button>
        )}
        {state === 'published' && !suspension && document.rules.length > 0 && (
          <button
            type="button"
            class="button"
            disabled={isWorking}
            onClick={() =>
              void act(() => scenarios.suspend(id, SUSPEND_S), `No notices of ${name} for an hour.`)
            }
          >
            No notices for an hour
          </button>
        )}
        <button
          type="button"
          class="button"
          disabled={isWorking}
          onClick={() =>
            void act(async () => {
              const made = await scenarios.copy(id)
              go(`/scenarios/${encodeURIComponent(made.id)}`)
            }, `${name} was copied. The copy is a draft.`)
          }
        >
          Copy
        </button>
        <button type="button" class="button button-danger" onClick={() => setDeleting(true)}>
          Delete
        </button>
      </p>
      {isDeleting && (
        <Confirm
          title={`Delete ${name}?`}
          word="Delete"
          onClose={() => setDeleting(false)}
          act={async () => {
            await scenarios.remove(id)
            say(`${name} was deleted.`)
            again()
          }}
        >
          {state === 'published'
            ? 'Its cameras go back to their own settings at once, and its rules send nothing more. '
            : ''}
          Notices that it has made stay.
        </Confirm>
      )}
    </article>
  )
}

/** Asked for when it comes in sight: each takes a check of its own. */
function ScenarioFacts({ scenario }: { readonly scenario: KeptScenario }) {
  const { target, isNear } = useNear<HTMLDListElement>()
  return (
    <dl ref={target} class="facts scenario-facts">
      {isNear ? <ScenarioFactsNear scenario={scenario} /> : <dt>Cameras</dt>}
    </dl>
  )
}

function ScenarioFactsNear({ scenario }: { readonly scenario: KeptScenario }) {
  const { id, document, revision } = scenario
  const checked = useLoaded(`check ${id} ${revision}`, (signal) => scenarios.check(document, id, signal))
  const notices = useLoaded(`notices of ${id}`, (signal) => scenarios.notices(id, signal))
  useEvery(REFRESH_MS, notices.again)
  const { cameras = [], problems = [] } = checked.value ?? {}
  const since = nowMs.value - DAY_MS
  const recent = notices.value?.items.filter(({ atMs }) => atMs > since).length
  // More than one page, and all of it of that day.
  const isMore = recent === notices.value?.items.length && notices.value?.next !== null
  return (
    <>
      <dt>Cameras</dt>
      <dd>
        {checked.value
          ? cameras.length === 0
            ? 'None: choose where it applies.'
            : `${cameras
                .slice(0, NAMED_MAX)
                .map((path) => path.split('/')[2] ?? path)
                .join(
                  ', ',
                )}${cameras.length > NAMED_MAX ? ` and ${count(cameras.length - NAMED_MAX, 'more camera')}` : ''}`
          : checked.error === undefined
            ? '…'
            : 'Not known'}
      </dd>
      <dt>Rules</dt>
      <dd>
        {document.rules.length === 0
          ? 'None'
          : document.rules.map((rule) => (rule.enabled ? rule.name : `${rule.name} (off)`)).join(', ')}
      </dd>
      {document.schedule && (
        <>
          <dt>When</dt>
          <dd>{scheduleWords(document.schedule)}</dd>
        </>
      )}
      <dt>Last 24 hours</dt>
      <dd>
        {recent === undefined ? (
          notices.error === undefined ? (
            '…'
          ) : (
            'Not known'
          )
        ) : recent === 0 ? (
          'No notices'
        ) : (
          <a href={`/notices?scenario=${encodeURIComponent(id)}`}>
            {isMore ? `At least ${recent} notices` : count(recent, 'notice')}
          </a>
        )}
      </dd>
      {problems.length > 0 && (
        <>
          <dt>Problems</dt>
          <dd>
            {problems.map(({ message, kind }, index) => (
              <span key={index} class={kind === 'error' ? 'problem-error' : 'note'}>
                {message}
              </span>
            ))}
          </dd>
        </>
      )}
    </>
  )
}
