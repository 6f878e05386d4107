import type { ComponentChildren } from 'preact'
import { useEffect, useId, useState } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import { Dialog } from '../parts/dialog.tsx'
import { say } from '../parts/said.tsx'
import { Failed, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { ask, go, holdBack, place } from '../router.ts'
import type { KeptScenario, ScenarioDocument, Trouble } from '../scenario-types.ts'
import * as scenarios from '../scenarios.ts'
import { style } from '../styles.ts'
import { ScenarioDevices } from './scenario-devices.tsx'
import { Difference } from './scenario-difference.tsx'
import { type Editing, sentence, useEditing } from './scenario-editing.ts'
import { History } from './scenario-history.tsx'
import { Looks } from './scenario-looks.tsx'
import { Rules } from './scenario-rules.tsx'
import { Settings } from './scenario-settings.tsx'
import { ScenarioIs } from './scenario-state.tsx'
import { besides, Troubles, under } from './scenario-troubles.tsx'
import { TryOut } from './scenario-try.tsx'
import { Where } from './scenario-where.tsx'
import { Zones } from './scenario-zones.tsx'
import { ScheduleForm } from './schedule-form.tsx'

await style('scenarios.css')
await style('scenario.css')

/** One scenario: written, tried, and what it was before. */

const EMPTY: ScenarioDocument = {
  name: '',
  description: '',
  cameras: {},
  settings: {},
  zones: [],
  rules: [],
}

export default function ScenarioPage({ params }: { readonly params: Readonly<Record<string, string>> }) {
  const { id = '' } = params
  return (
    <div class="page">
      <p class="crumbs">
        <a href="/scenarios">Scenarios</a>
      </p>
      {id === scenarios.NEW_ID ? <New /> : <Kept id={id} />}
    </div>
  )
}

function New() {
  const from = place.value.query.get('from')
  const provided = useLoaded(`provided ${from}`, async (signal) =>
    from === null ? undefined : (await scenarios.provided(signal)).items.find(({ id }) => id === from),
  )
  if (from === null) return <Edited begun={EMPTY} />
  return (
    <Shown
      of={provided.isLoading && provided.value === undefined ? { ...provided, error: undefined } : provided}
      waiting={<Opening />}
    >
      {(it) => <Edited begun={it?.document ?? EMPTY} />}
    </Shown>
  )
}

function Opening() {
  return (
    <>
      <h1>Scenario</h1>
      <Waiting shape="block" rows={1} />
    </>
  )
}

function Kept({ id }: { readonly id: string }) {
  const loaded = useLoaded(`scenario ${id}`, (signal) => scenarios.scenario(id, signal))
  if (loaded.value === undefined && loaded.error !== undefined)
    return (
      <>
        <h1>Scenario</h1>
        <Failed error={loaded.error} again={loaded.again} />
      </>
    )
  return loaded.value === undefined ? (
    <Opening />
  ) : (
    <Edited begun={loaded.value.document} kept={loaded.value} />
  )
}

const TABS = [
  ['edit', 'Edit'],
  ['try', 'Try'],
  ['history', 'History'],
] as const

function Edited({ begun, kept: first }: { readonly begun: ScenarioDocument; readonly kept?: KeptScenario }) {
  const editing = useEditing(begun, first)
  const { kept, document, checked } = editing
  const tabs = TABS.filter(([name]) => name !== 'history' || kept)
  const tab = tabs.find(([name]) => name === place.value.query.get('show'))?.[0] ?? 'edit'
  const leaving = useLeaving(editing.isChanged && !(kept === undefined && document === begun))
  return (
    <>
      <header class="page-head">
        <div>
          <h1>{document.name || 'New scenario'}</h1>
          <p class="page-sub scenario-sub">
            {kept ? (
              <>
                <ScenarioIs scenario={kept} />
                {kept.state === 'published' && <ScenarioDevices covered={editing.checked?.cameras ?? []} />}
                <span>
                  Changed <When atMs={kept.changedAtMs} /> by {kept.changedBy}
                </span>
              </>
            ) : (
              'Not saved yet. Nothing happens before it is published.'
            )}
          </p>
        </div>
        <fieldset class="switch">
          <legend class="visually-hidden">Show</legend>
          {tabs.map(([name, title]) => (
            <button
              key={name}
              type="button"
              aria-pressed={name === tab}
              onClick={() => ask({ show: name === 'edit' ? undefined : name })}
            >
              {title}
            </button>
          ))}
        </fieldset>
      </header>
      {tab === 'edit' && <Form editing={editing} />}
      {tab === 'try' && <TryOut document={document} />}
      {tab === 'history' && kept && (
        <History
          kept={kept}
          hasUnsaved={editing.isChanged}
          taken={(theirs) => {
            editing.take(theirs)
            ask({ show: undefined })
          }}
        />
      )}
      <SaveBar editing={editing} problems={checked?.problems ?? []} />
      {leaving.href !== undefined && (
        <Leaving editing={editing} href={leaving.href} stay={leaving.stay} leave={leaving.leave} />
      )}
    </>
  )
}

const SECTIONS = [
  ['what', 'What'],
  ['where', 'Where'],
  ['settings', 'Settings'],
  ['looks', 'Second looks'],
  ['zones', 'Zones'],
  ['rules', 'Rules'],
  ['when', 'When'],
] as const
const KEYS_OF: Readonly<Record<string, readonly string[]>> = {
  what: ['name', 'description'],
  where: ['cameras'],
  settings: ['settings', 'detect'],
  looks: ['process', 'models'],
  zones: ['zones'],
  rules: ['rules'],
  when: ['schedule'],
}

function Form({ editing }: { readonly editing: Editing }) {
  const { document, set, checked, checkError } = editing
  const problems = checked?.problems ?? []
  const countOf = (name: string) => (KEYS_OF[name] ?? []).flatMap((key) => under(problems, key)).length
  const wrongName = useId()
  const ofName = under(problems, 'name')
  return (
    <div class="editor">
      <nav class="editor-nav" aria-label="Parts of the scenario">
        <ul>
          {SECTIONS.map(([name, title]) => (
            <li key={name}>
              <a href={`#${name}`}>
                {title}
                {countOf(name) > 0 && (
                  <span class="badge badge-bad" title="Problems">
                    {countOf(name)}
                    <span class="visually-hidden"> problems</span>
                  </span>
                )}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <form class="editor-form" onSubmit={(event) => event.preventDefault()}>
        {checkError !== undefined && <p class="note">It could not be checked now: {sentence(checkError)}</p>}
        <Troubles of={besides(problems, [], Object.values(KEYS_OF).flat())} />
        <Part name="what" title="What">
          <label class="field">
            <span>Name</span>
            <input
              required
              maxLength={200}
              autocomplete="off"
              placeholder="Visitors at the door"
              value={document.name}
              aria-invalid={ofName.length > 0}
              aria-describedby={ofName.length > 0 ? wrongName : undefined}
              onInput={({ currentTarget: { value } }) => set({ name: value })}
            />
          </label>
          <Troubles of={ofName} id={wrongName} />
          <label class="field field-text">
            <span>Description (what it is for, for whoever reads it later)</span>
            <textarea
              rows={3}
              maxLength={2000}
              value={document.description}
              onInput={({ currentTarget: { value } }) => set({ description: value })}
            />
          </label>
          <Troubles of={under(problems, 'description')} />
        </Part>
        <Part name="where" title="Where" text="The cameras that it applies to.">
          <Where
            selection={document.cameras}
            change={(cameras) => set({ cameras })}
            covered={checked?.cameras}
          />
          <Troubles of={under(problems, 'cameras')} />
        </Part>
        <Part
          name="settings"
          title="Settings"
          text="What these cameras do otherwise while the scenario is active. All others stay as each device has them."
        >
          <Settings document={document} set={set} covered={checked?.cameras ?? []} problems={problems} />
        </Part>
        <Part
          name="looks"
          title="Second looks"
          text="What looks again at each face before its picture is sent, and tells something of it that rules can ask for."
        >
          <Looks document={document} set={set} covered={checked?.cameras ?? []} problems={problems} />
        </Part>
        <Part
          name="zones"
          title="Zones"
          text="Parts of a picture with a name. Rules can ask for faces in them, and for who comes, leaves and stays."
        >
          <Zones document={document} set={set} covered={checked?.cameras ?? []} problems={problems} />
        </Part>
        <Part name="rules" title="Rules" text="What has to happen, and who hears of it.">
          <Rules document={document} set={set} problems={problems} />
        </Part>
        <Part name="when" title="When" text="When it is active: always, or at these hours.">
          <ScheduleForm
            schedule={document.schedule}
            always="Always"
            change={(schedule) => set({ schedule })}
          />
          <Troubles of={under(problems, 'schedule')} />
        </Part>
      </form>
    </div>
  )
}

function Part({
  name,
  title,
  text,
  children,
}: {
  readonly name: string
  readonly title: string
  readonly text?: string
  readonly children: ComponentChildren
}) {
  return (
    <section id={name} class="editor-part" aria-labelledby={`${name}-title`}>
      <div>
        <h2 id={`${name}-title`}>{title}</h2>
        {text && <p class="muted">{text}</p>}
      </div>
      {children}
    </section>
  )
}

type Doing = 'save' | 'publish' | 'pause'

/** What is not saved yet, and what can be done about it; always in sight. */
function SaveBar({
  editing,
  problems,
}: {
  readonly editing: Editing
  readonly problems: readonly Trouble[]
}) {
  const { kept, isChanged, document } = editing
  const [doing, setDoing] = useState<Doing | undefined>(undefined)
  const [failed, setFailed] = useState<unknown>(undefined)
  const [theirs, setTheirs] = useState<KeptScenario | undefined>(undefined)
  const errors = problems.filter(({ kind }) => kind === 'error').length
  const others = problems.length - errors
  const isPublished = kept?.state === 'published'

  async function act(what: Doing, revision?: number): Promise<void> {
    setDoing(what)
    setFailed(undefined)
    try {
      let now = isChanged || revision !== undefined ? await editing.save(revision) : kept
      if (now && what !== 'save') {
        now = await (what === 'publish' ? scenarios.publish(now.id) : scenarios.pause(now.id))
        editing.take(now)
      }
      say(
        what === 'publish'
          ? `${document.name} is published.`
          : what === 'pause'
            ? `${document.name} is paused.`
            : isPublished
              ? 'Saved. Its cameras take it up now.'
              : 'Saved.',
      )
      if (now && !kept) go(`/scenarios/${encodeURIComponent(now.id)}`, { replace: true })
    } catch (error) {
      if (kept && scenarios.isRevisionChanged(error))
        try {
          setTheirs(await scenarios.scenario(kept.id))
        } catch (second) {
          setFailed(second)
        }
      else setFailed(error)
    }
    setDoing(undefined)
  }
  const isBlocked = document.name.trim() === ''
  return (
    <div class="save-bar">
      {failed !== undefined && <Failed error={failed} />}
      <p class="save-state" role="status">
        {isChanged ? (kept ? 'Changes are not saved yet.' : 'Not saved yet.') : 'All changes are saved.'}{' '}
        {problems.length > 0 && (
          <span class="save-problems">
            {[errors > 0 && `${errors} wrong`, others > 0 && `${others} to look at`]
              .filter(Boolean)
              .join(', ')}
            .
          </span>
        )}
      </p>
      <p class="buttons">
        <button
          type="button"
          class={`button${isPublished ? ' button-strong' : ''}`}
          disabled={!isChanged || doing !== undefined || isBlocked}
          onClick={() => void act('save')}
        >
          {doing === 'save'
            ? 'Saving …'
            : isPublished
              ? 'Save and apply'
              : kept?.state === 'paused'
                ? 'Save'
                : 'Save as draft'}
        </button>
        {isPublished ? (
          <button
            type="button"
            class="button"
            disabled={doing !== undefined || isChanged}
            title={isChanged ? 'Save the changes first' : undefined}
            onClick={() => void act('pause')}
          >
            Pause
          </button>
        ) : (
          <button
            type="button"
            class="button button-strong"
            disabled={doing !== undefined || errors > 0 || isBlocked}
            title={errors > 0 ? 'Mend what is wrong first' : undefined}
            onClick={() => void act('publish')}
          >
            {doing === 'publish' ? 'Publishing …' : 'Publish'}
          </button>
        )}
      </p>
      {theirs && (
        <Dialog title={`Changed by ${theirs.changedBy} meanwhile`} wide onClose={() => setTheirs(undefined)}>
          <p>
            {theirs.changedBy} has saved another version <When atMs={theirs.changedAtMs} />. What is different
            in yours:
          </p>
          <Difference before={theirs.document} now={document} words={['In theirs', 'In yours']} />
          <p class="buttons">
            <button
              type="button"
              class="button button-strong"
              onClick={() => {
                setTheirs(undefined)
                void act('save', theirs.revision)
              }}
            >
              Save mine over it
            </button>
            <button
              type="button"
              class="button"
              onClick={() => {
                editing.take(theirs)
                setTheirs(undefined)
                say('This is now their version.')
              }}
            >
              Take theirs, drop mine
            </button>
            <button type="button" class="button" onClick={() => setTheirs(undefined)}>
              Go on editing
            </button>
          </p>
        </Dialog>
      )}
    </div>
  )
}

/** Asks before what is not saved is lost. */
function useLeaving(hasUnsaved: boolean) {
  const [href, setHref] = useState<string | undefined>(undefined)
  useEffect(() => {
    if (!hasUnsaved) return
    const end = holdBack((wanted) => {
      setHref(wanted)
      return false
    })
    const onUnload = (event: BeforeUnloadEvent) => event.preventDefault()
    addEventListener('beforeunload', onUnload)
    return () => {
      end()
      removeEventListener('beforeunload', onUnload)
    }
  }, [hasUnsaved])
  return {
    href,
    stay: () => setHref(undefined),
    leave: (wanted: string) => {
      setHref(undefined)
      holdBack(() => true)()
      go(wanted)
    },
  }
}

function Leaving({
  editing,
  href,
  stay,
  leave,
}: {
  readonly editing: Editing
  readonly href: string
  readonly stay: () => void
  readonly leave: (href: string) => void
}) {
  const [error, setError] = useState<unknown>(undefined)
  return (
    <Dialog title="Leave without saving?" onClose={stay}>
      <p>What you have changed is not saved yet.</p>
      {error !== undefined && <Failed error={error} />}
      <p class="buttons">
        <button
          type="button"
          class="button button-strong"
          disabled={editing.document.name.trim() === ''}
          onClick={() => void editing.save().then(() => leave(href), setError)}
        >
          Save and leave
        </button>
        <button type="button" class="button button-danger" onClick={() => leave(href)}>
          Leave without saving
        </button>
        <button type="button" class="button" onClick={stay}>
          Stay
        </button>
      </p>
    </Dialog>
  )
}
