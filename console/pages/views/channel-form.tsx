import { useId, useState } from 'preact/hooks'
import type { ChannelPreview } from '../../api/channels.ts'
import { Problem } from '../api.ts'
import type { Channel, ChannelGiven, ChannelKept } from '../channel-types.ts'
import * as api from '../channels.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Failed } from '../parts/states.tsx'
import type { ChannelKind, FieldName, KindField } from './channel-kinds.ts'
import { WhyNotAllowed } from './channel-why.tsx'

/** A channel, new or changed; and what would be sent on it. */

/** As the API masks it: sent back, it leaves the secret as it is. */
const MASKED = /^•+$/

const HOUR_MS = 3_600_000
const GIVEN_UP = [
  [HOUR_MS, 'an hour'],
  [6 * HOUR_MS, '6 hours'],
  [24 * HOUR_MS, 'a day'],
  [7 * 24 * HOUR_MS, 'a week'],
] as const

type Texts = Readonly<Partial<Record<FieldName, string>>>

interface Common {
  readonly name: string
  readonly enabled: boolean
  readonly updates: boolean
  readonly ordered: boolean
  readonly picture: Channel['picture']
  readonly giveUpAfterMs: number
  readonly perHourMax: number
  readonly retain: boolean
  readonly homeAssistant: boolean
}

export function ChannelForm({
  kind,
  channel,
  done,
  onClose,
}: {
  readonly kind: ChannelKind
  readonly channel?: ChannelKept
  readonly done: (made: ChannelKept) => void
  readonly onClose: () => void
}) {
  const before = channel?.document
  const [texts, setTexts] = useState<Texts>(() => textsOf(kind, before))
  const [common, setCommon] = useState<Common>(() => commonOf(kind, before))
  const [preview, setPreview] = useState<ChannelPreview | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const [isWorking, setWorking] = useState(false)
  const set = (change: Partial<Common>) => setCommon((old) => ({ ...old, ...change }))
  const document = documentOf(kind, texts, common, before)

  async function attempt(act: () => Promise<void>): Promise<void> {
    setWorking(true)
    setError(undefined)
    try {
      await act()
    } catch (problem) {
      setError(problem)
    }
    setWorking(false)
  }
  const save = () =>
    attempt(async () => {
      const made = channel
        ? await api.change(channel.id, { revision: channel.revision, document })
        : await api.add(document)
      done(made)
    })
  const look = () =>
    attempt(async () => setPreview(await api.preview({ ...(channel ? { id: channel.id } : {}), document })))

  return (
    <Dialog title={channel ? `Change ${channel.name}` : kind.title} wide onClose={onClose}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault()
          void save()
        }}
      >
        <p class="muted">{kind.what}</p>
        <label class="field">
          <span>Name</span>
          <input
            required
            maxLength={200}
            autocomplete="off"
            value={common.name}
            onInput={({ currentTarget: { value } }) => set({ name: value })}
          />
        </label>
        {kind.fields.map((field) => (
          <TextField
            key={field.name}
            field={field}
            value={texts[field.name] ?? ''}
            set={(value) => setTexts((old) => ({ ...old, [field.name]: value }))}
          />
        ))}
        {kind.type === 'mqtt' && (
          <fieldset class="choices">
            <legend>On the broker</legend>
            <label>
              <input
                type="checkbox"
                checked={common.homeAssistant}
                onChange={() => set({ homeAssistant: !common.homeAssistant })}
              />
              Tell Home Assistant what there is to hear (discovery)
            </label>
            <label>
              <input
                type="checkbox"
                checked={common.retain}
                onChange={() => set({ retain: !common.retain })}
              />
              The broker keeps the newest of each scenario for who comes later
            </label>
          </fieldset>
        )}
        <fieldset class="choices">
          <legend>Picture</legend>
          {PICTURES.filter(([value]) => value !== 'attached' || kind.attaches).map(([value, words]) => (
            <label key={value}>
              <input
                type="radio"
                name="picture"
                checked={common.picture === value}
                onChange={() => set({ picture: value })}
              />
              {words}
            </label>
          ))}
        </fieldset>
        <details class="details channel-more">
          <summary>More</summary>
          <div class="form">
            <fieldset class="choices">
              <legend>What is sent</legend>
              <label>
                <input
                  type="checkbox"
                  checked={common.enabled}
                  onChange={() => set({ enabled: !common.enabled })}
                />
                It is on
              </label>
              <label>
                <input
                  type="checkbox"
                  checked={common.updates}
                  onChange={() => set({ updates: !common.updates })}
                />
                Better pictures and ends too, not only the first word of it
              </label>
              <label>
                <input
                  type="checkbox"
                  checked={common.ordered}
                  onChange={() => set({ ordered: !common.ordered })}
                />
                In order for each camera: one that fails holds back those after it
              </label>
            </fieldset>
            <label class="field">
              <span>What cannot be delivered is given up after</span>
              <select
                value={String(common.giveUpAfterMs)}
                onChange={({ currentTarget: { value } }) => set({ giveUpAfterMs: Number(value) })}
              >
                {GIVEN_UP.some(([ms]) => ms === common.giveUpAfterMs) || (
                  <option value={String(common.giveUpAfterMs)}>
                    {common.giveUpAfterMs / 60_000} minutes
                  </option>
                )}
                {GIVEN_UP.map(([ms, words]) => (
                  <option key={ms} value={String(ms)}>
                    {words}
                  </option>
                ))}
              </select>
            </label>
            <label class="field">
              <span>Notices an hour, at most</span>
              <input
                type="number"
                required
                min={1}
                max={100_000}
                value={String(common.perHourMax)}
                onInput={({ currentTarget: { value } }) => set({ perHourMax: Number(value) })}
              />
            </label>
          </div>
        </details>
        {error !== undefined && <Failed error={error} />}
        {error instanceof Problem && <WhyNotAllowed code={error.code} why={error.detail} />}
        {preview && <PreviewShown preview={preview} />}
        <p class="buttons">
          <button type="submit" class="button button-strong" disabled={isWorking}>
            {channel ? 'Save' : 'Add'}
          </button>
          <button
            type="button"
            class="button"
            disabled={isWorking}
            onClick={({ currentTarget }) => {
              if (currentTarget.form?.reportValidity()) void look()
            }}
          >
            Show what would be sent
          </button>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
        </p>
      </form>
    </Dialog>
  )
}

/** The browser's own check of addresses takes `ftp:` too. */
const ADDRESS = {
  inputMode: 'url',
  pattern: 'https?://.+',
  title: 'It begins with https:// or http://',
} as const

const PICTURES = [
  ['none', 'none'],
  ['link', 'a link to it, which works for a while without signing in'],
  ['attached', 'sent along'],
] as const

function TextField({
  field,
  value,
  set,
}: {
  readonly field: KindField
  readonly value: string
  readonly set: (value: string) => void
}) {
  const { label, hint, type, isRequired } = field
  const isMasked = type === 'secret' && MASKED.test(value)
  const id = useId()
  const common = {
    id,
    'aria-describedby': `${id}-hint`,
    required: isRequired,
    maxLength: 2000,
    spellcheck: false,
    value,
    onInput: ({ currentTarget: { value: text } }: { readonly currentTarget: HTMLInputElement }) =>
      set(isMasked ? text.replace(/•/g, '') : text),
  }
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {type === 'secret' ? (
        <input
          type="password"
          autocomplete="new-password"
          {...common}
          // What is masked is replaced as a whole: a part of it would be no secret.
          onFocus={({ currentTarget }) => {
            if (isMasked) currentTarget.select()
          }}
        />
      ) : (
        <input autocomplete="off" {...common} {...(type === 'url' && ADDRESS)} />
      )}
      <small id={`${id}-hint`} class="muted">
        {hint}
        {isMasked && ' It is kept as it is unless you write another.'}
      </small>
    </div>
  )
}

function PreviewShown({ preview }: { readonly preview: ChannelPreview }) {
  return (
    <section aria-label="What would be sent" class="channel-preview">
      <h3>What would be sent</h3>
      <p class="mono breaks">
        {preview.method} {preview.url}
      </p>
      <pre class="channel-body">
        {Object.entries(preview.headers)
          .map(([name, value]) => `${name}: ${value}`)
          .join('\n')}
        {'\n\n'}
        {pretty(preview.body)}
      </pre>
    </section>
  )
}

function pretty(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), null, 2)
  } catch {
    return body
  }
}

function textsOf({ fields }: ChannelKind, before: Channel | undefined): Texts {
  const had = before as Readonly<Record<string, unknown>> | undefined
  return Object.fromEntries(
    fields.map(({ name, initial = '' }) => {
      const value = had?.[name]
      return [
        name,
        Array.isArray(value) ? value.join(', ') : typeof value === 'string' ? value : had ? '' : initial,
      ]
    }),
  )
}

const commonOf = ({ title, attaches }: ChannelKind, before: Channel | undefined): Common => ({
  name: before?.name ?? title,
  enabled: before?.enabled ?? true,
  updates: before?.updates ?? false,
  ordered: before?.ordered ?? false,
  picture: before?.picture ?? (attaches ? 'attached' : 'link'),
  giveUpAfterMs: before?.giveUpAfterMs ?? 24 * HOUR_MS,
  perHourMax: before?.perHourMax ?? 600,
  retain: before?.type === 'mqtt' ? before.retain : false,
  homeAssistant: before?.type === 'mqtt' ? before.homeAssistant : false,
})

const listOf = (text: string) =>
  text
    .split(',')
    .map((it) => it.trim())
    .filter((it) => it !== '')

function documentOf(
  kind: ChannelKind,
  texts: Texts,
  { retain, homeAssistant, ...common }: Common,
  before: Channel | undefined,
): ChannelGiven {
  const text = (name: FieldName) => texts[name]?.trim() ?? ''
  switch (kind.type) {
    case 'email':
      return { type: 'email', ...common, to: listOf(text('to')) }
    case 'push': {
      const users = listOf(text('users'))
      return { type: 'push', ...common, ...(users.length > 0 ? { users } : {}) }
    }
    case 'mqtt':
      return { type: 'mqtt', ...common, retain, homeAssistant }
    default: {
      const given = (name: 'token' | 'topic' | 'chat') => (text(name) === '' ? {} : { [name]: text(name) })
      return {
        type: 'webhook',
        ...common,
        template: kind.key as (Channel & { type: 'webhook' })['template'],
        url: text('url'),
        ...given('token'),
        ...given('topic'),
        ...given('chat'),
        ...(before?.type === 'webhook' && before.secret !== undefined ? { secret: before.secret } : {}),
      }
    }
  }
}
