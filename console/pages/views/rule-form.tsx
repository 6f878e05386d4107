import type { ComponentChildren } from 'preact'
import { useId, useState } from 'preact/hooks'
import * as api from '../api.ts'
import { type Loaded, useLoaded } from '../loaded.ts'
import type { Rule, Trouble } from '../scenario-types.ts'
import { share } from '../words.ts'
import { RuleExpression } from './rule-expression.tsx'
import { RuleMessage } from './rule-message.tsx'
import {
  type Camera,
  type Condition,
  type Conditions,
  KINDS,
  kindOf,
  LEVELS,
  PER,
  PROGRAMS,
  STATES,
  TRACK_EVENTS,
  ZONE_EVENTS,
} from './rule-words.ts'
import { besides, Troubles, under } from './scenario-troubles.tsx'
import { ScheduleForm } from './schedule-form.tsx'

/** A rule's form: the conditions that its kind knows, how long, how often, and who hears of it. */

export interface ChannelName {
  readonly id: string
  readonly name: string
}

export function RuleForm({
  rule,
  zones,
  channels,
  scenario,
  problems,
  change,
}: {
  readonly rule: Rule
  /** Names of those that the scenario has. */
  readonly zones: readonly string[]
  readonly channels: Loaded<{ readonly items: readonly ChannelName[] }>
  readonly scenario: string
  /** Their paths begin in the rule. */
  readonly problems: readonly Trouble[]
  readonly change: (rule: Rule) => void
}) {
  const kind = kindOf(rule.on)
  const { conditions } = rule
  const set = (part: Partial<Rule>) => change({ ...rule, ...part })
  const setConditions = (part: Partial<Conditions>) => {
    const next = Object.fromEntries(
      Object.entries({ ...conditions, ...part }).filter(
        ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
      ),
    )
    set({ conditions: next })
  }
  const knows = (condition: Condition) => kind.knows.includes(condition)
  const trouble = (...path: readonly string[]) => <Troubles of={under(problems, ...path)} />
  const [hasMore, setMore] = useState(
    rule.expression !== undefined ||
      conditions.scoreMin !== undefined ||
      conditions.qualityMin !== undefined ||
      conditions.sizeMin !== undefined ||
      conditions.attributes !== undefined,
  )
  const shown = [
    'name',
    'conditions',
    'expression',
    'holdMs',
    'cooldownMs',
    'quiet',
    'title',
    'text',
    'notify',
  ]
  return (
    <div class="rule-form">
      <Troubles of={besides(problems, [], shown)} />
      <Group title="What">
        <label class="field">
          <span>Name of the rule</span>
          <input
            required
            maxLength={200}
            autocomplete="off"
            value={rule.name}
            onInput={({ currentTarget: { value } }) => set({ name: value })}
          />
        </label>
        {trouble('name')}
        <label class="check">
          <input
            type="checkbox"
            checked={rule.enabled}
            onChange={({ currentTarget: { checked } }) => set({ enabled: checked })}
          />
          This rule is on
        </label>
      </Group>
      <Group title="When this is so">
        <p class="muted">{kind.text}</p>
        {knows('zoneEvents') && (
          <Several
            legend="A face"
            choices={ZONE_EVENTS}
            value={conditions.zoneEvents}
            set={(zoneEvents) => setConditions({ zoneEvents })}
          />
        )}
        {knows('trackEvents') && (
          <Several
            legend="A face"
            choices={TRACK_EVENTS}
            value={conditions.trackEvents}
            set={(trackEvents) => setConditions({ trackEvents })}
          />
        )}
        {(knows('moreThan') || knows('fewerThan')) && (
          <div class="rule-row">
            <NumberField
              label="More than"
              value={conditions.moreThan}
              min={0}
              max={100_000}
              isWhole
              set={(moreThan) => setConditions({ moreThan })}
            />
            {knows('fewerThan') && (
              <NumberField
                label="Fewer than"
                value={conditions.fewerThan}
                min={1}
                max={100_000}
                isWhole
                set={(fewerThan) => setConditions({ fewerThan })}
              />
            )}
            {knows('windowMs') && (
              <TimeField
                label="Within"
                value={conditions.windowMs ?? 0}
                set={(windowMs) => setConditions({ windowMs })}
              />
            )}
          </div>
        )}
        {knows('zones') &&
          (zones.length > 0 || conditions.zones ? (
            <Several
              legend={rule.on === 'zone' ? 'Which zones (none: any)' : 'Only in these zones (none: anywhere)'}
              choices={Object.fromEntries(
                [...new Set([...zones, ...(conditions.zones ?? [])])].map((zone) => [zone, zone]),
              )}
              value={conditions.zones}
              set={(next) => setConditions({ zones: next })}
            />
          ) : (
            <p class="muted">
              {rule.on === 'zone' ? 'Any zone.' : 'Anywhere.'} Draw zones under “Zones” to choose among them.
            </p>
          ))}
        {knows('masked') && (
          <label class="field field-narrow">
            <span>Mask, by the detector</span>
            <select
              value={conditions.masked === undefined ? '' : String(conditions.masked)}
              onChange={({ currentTarget: { value } }) =>
                setConditions({ masked: value === '' ? undefined : value === 'true' })
              }
            >
              <option value="">with or without a mask</option>
              <option value="true">with a mask</option>
              <option value="false">without a mask</option>
            </select>
          </label>
        )}
        {(rule.on === 'camera' || rule.on === 'device' || rule.on === 'keeper') && (
          <Several<Camera>
            legend={rule.on === 'camera' ? 'A camera' : rule.on === 'device' ? 'A device' : 'A program'}
            choices={STATES[rule.on] as Partial<Record<Camera, string>>}
            value={conditions.states}
            set={(states) => setConditions({ states })}
          />
        )}
        {knows('programs') && (
          <Several
            legend="Only these programs (none: all)"
            choices={PROGRAMS}
            value={conditions.programs}
            set={(programs) => setConditions({ programs })}
          />
        )}
        {knows('kinds') && (
          <Several
            legend="What arrives"
            choices={KINDS}
            value={conditions.kinds}
            set={(kinds) => setConditions({ kinds })}
          />
        )}
        {hasMore ? (
          <>
            {knows('scoreMin') && (
              <div class="rule-row">
                <NumberField
                  label="How sure, at least, %"
                  value={conditions.scoreMin}
                  scale={100}
                  min={0}
                  max={100}
                  set={(scoreMin) => setConditions({ scoreMin })}
                />
                {knows('qualityMin') && (
                  <NumberField
                    label="Quality, at least, %"
                    value={conditions.qualityMin}
                    scale={100}
                    min={0}
                    max={100}
                    set={(qualityMin) => setConditions({ qualityMin })}
                  />
                )}
                {knows('sizeMin') && (
                  <NumberField
                    label="Size, at least, pixels"
                    value={conditions.sizeMin}
                    min={0}
                    max={65_535}
                    isWhole
                    set={(sizeMin) => setConditions({ sizeMin })}
                  />
                )}
              </div>
            )}
            {knows('attributes') && (
              <Attributes
                value={conditions.attributes ?? []}
                set={(attributes) => setConditions({ attributes })}
              />
            )}
            <RuleExpression on={rule.on} value={rule.expression} set={(expression) => set({ expression })} />
            {trouble('expression')}
          </>
        ) : (
          <p>
            <button type="button" class="link-button" onClick={() => setMore(true)}>
              More conditions, or an expression
            </button>
          </p>
        )}
        {trouble('conditions')}
      </Group>
      <Group title="How long and how often">
        <div class="rule-row">
          {(kind.lasts || rule.holdMs > 0) && (
            <TimeField label="It has to be so for" value={rule.holdMs} set={(holdMs) => set({ holdMs })} />
          )}
          <TimeField
            label="After a notice, none for"
            value={rule.cooldownMs}
            set={(cooldownMs) => set({ cooldownMs })}
          />
          <label class="field">
            <span>Notices</span>
            <select
              value={rule.per}
              onChange={({ currentTarget: { value } }) => set({ per: value as Rule['per'] })}
            >
              {Object.entries(PER).map(([it, words]) => (
                <option key={it} value={it}>
                  {words}
                </option>
              ))}
            </select>
          </label>
        </div>
        {trouble('holdMs')}
        {trouble('cooldownMs')}
        <details class="details" open={rule.quiet !== undefined}>
          <summary>Quiet hours</summary>
          <div class="quiet">
            <ScheduleForm
              schedule={rule.quiet}
              always="No quiet hours"
              at="No notices at these hours"
              change={(quiet) => set({ quiet })}
            />
          </div>
        </details>
        {trouble('quiet')}
      </Group>
      <Group title="Who hears of it, and what">
        <Channels channels={channels} value={rule.notify} set={(notify) => set({ notify })} />
        {trouble('notify')}
        <label class="field field-narrow">
          <span>How bad it is</span>
          <select
            value={rule.level}
            onChange={({ currentTarget: { value } }) => set({ level: value as Rule['level'] })}
          >
            {Object.entries(LEVELS).map(([it, words]) => (
              <option key={it} value={it}>
                {words}
              </option>
            ))}
          </select>
        </label>
        <RuleMessage rule={rule} scenario={scenario} set={set} />
        {trouble('title')}
        {trouble('text')}
      </Group>
    </div>
  )
}

function Group({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <fieldset class="rule-group">
      <legend>{title}</legend>
      {children}
    </fieldset>
  )
}

/** Any of some words. */
function Several<Name extends string>({
  legend,
  choices,
  value = [],
  set,
}: {
  readonly legend: string
  readonly choices: Readonly<Partial<Record<Name, string>>>
  readonly value: readonly Name[] | undefined
  readonly set: (value: Name[]) => void
}) {
  return (
    <fieldset class="choices">
      <legend>{legend}</legend>
      <div class="choices-row">
        {(Object.entries(choices) as [Name, string][]).map(([name, words]) => (
          <label key={name}>
            <input
              type="checkbox"
              checked={value.includes(name)}
              onChange={() =>
                set(value.includes(name) ? value.filter((one) => one !== name) : [...value, name])
              }
            />
            <span class="breaks">{words}</span>
          </label>
        ))}
      </div>
    </fieldset>
  )
}

function NumberField({
  label,
  value,
  min,
  max,
  scale = 1,
  isWhole = false,
  set,
}: {
  readonly label: string
  readonly value: number | undefined
  readonly min: number
  readonly max: number
  readonly scale?: number
  readonly isWhole?: boolean
  readonly set: (value: number | undefined) => void
}) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min={min}
        max={max}
        step={isWhole ? 1 : 'any'}
        placeholder="any"
        value={value === undefined ? '' : Math.round(value * scale * 1e4) / 1e4}
        onInput={({ currentTarget: { value: text } }) => {
          if (text === '') return set(undefined)
          const number = Math.min(max, Math.max(min, Number(text))) / scale
          set(isWhole ? Math.round(number) : number)
        }}
      />
    </label>
  )
}

const TIME_UNITS = [
  [1000, 'seconds'],
  [60_000, 'minutes'],
  [3_600_000, 'hours'],
] as const

/** A time as a number and its unit; 0: none. */
export function TimeField({
  label,
  value,
  set,
}: {
  readonly label: string
  /** Milliseconds. */
  readonly value: number
  readonly set: (ms: number) => void
}) {
  const fitting = TIME_UNITS.findLast(([ms]) => value >= ms && value % ms === 0)?.[0] ?? 1000
  const [chosen, setChosen] = useState<number>(fitting)
  const id = useId()
  return (
    <div class="field">
      <span id={id}>{label}</span>
      <div class="time-row">
        <input
          type="number"
          min="0"
          step="any"
          placeholder="no time"
          aria-labelledby={id}
          value={value === 0 ? '' : value / chosen}
          onInput={({ currentTarget: { value: text } }) =>
            set(Math.max(0, Math.round(Number(text) * chosen)))
          }
        />
        <select
          aria-label={`${label}: unit`}
          value={String(chosen)}
          onChange={({ currentTarget: { value: text } }) => {
            setChosen(Number(text))
            set(Math.round((value / chosen) * Number(text)))
          }}
        >
          {TIME_UNITS.map(([ms, words]) => (
            <option key={ms} value={String(ms)}>
              {words}
            </option>
          ))}
        </select>
      </div>
    </div>
  )
}

type Attribute = NonNullable<Conditions['attributes']>[number]

/** What classifiers say: `glasses` is one of `yes`. */
function Attributes({
  value,
  set,
}: {
  readonly value: readonly Attribute[]
  readonly set: (value: Attribute[]) => void
}) {
  const [name, setName] = useState('')
  const [labels, setLabels] = useState('')
  const [sure, setSure] = useState('')
  // What has been said of faces before can be chosen; what a new classifier will say is typed.
  const known = useLoaded('known attributes', api.attributes)
  const names = known.value?.items ?? []
  const labelsKnown = names.find((one) => one.name === name.trim())?.labels ?? []
  const listed = labels
    .split(',')
    .map((label) => label.trim())
    .filter(Boolean)
  return (
    <div class="attributes">
      {value.length > 0 && (
        <p class="buttons">
          {value.map((one, index) => (
            <button
              key={index}
              type="button"
              class="chip breaks"
              aria-label={`Remove ${one.name}`}
              onClick={() => set(value.toSpliced(index, 1))}
            >
              <bdi>{one.name}</bdi>: <bdi>{one.labels.join(' or ')}</bdi>
              {one.scoreMin !== undefined && `, sure to at least ${share(one.scoreMin)}`} ×
            </button>
          ))}
        </p>
      )}
      <div class="rule-row">
        <label class="field">
          <span>What a classifier says</span>
          <input
            maxLength={64}
            placeholder="glasses"
            list="rule-attribute-names"
            value={name}
            onInput={({ currentTarget: { value: text } }) => setName(text)}
          />
        </label>
        <datalist id="rule-attribute-names">
          {names.map((one) => (
            <option key={one.name} value={one.name} />
          ))}
        </datalist>
        <label class="field">
          <span>is one of (with commas)</span>
          <input
            maxLength={500}
            placeholder="yes"
            list="rule-attribute-labels"
            value={labels}
            onInput={({ currentTarget: { value: text } }) => setLabels(text)}
          />
        </label>
        <datalist id="rule-attribute-labels">
          {labelsKnown.map((label) => (
            <option key={label} value={label} />
          ))}
        </datalist>
        <label class="field">
          <span>sure to at least, %</span>
          <input
            type="number"
            min="0"
            max="100"
            step="1"
            placeholder="any"
            value={sure}
            onInput={({ currentTarget: { value: text } }) => setSure(text)}
          />
        </label>
        <button
          type="button"
          class="button rule-row-button"
          disabled={name.trim() === '' || listed.length === 0}
          onClick={() => {
            const scoreMin = sure === '' ? undefined : Math.min(1, Math.max(0, Number(sure) / 100))
            set([
              ...value,
              { name: name.trim(), labels: listed, ...(scoreMin !== undefined && { scoreMin }) },
            ])
            setName('')
            setLabels('')
            setSure('')
          }}
        >
          Add
        </button>
      </div>
    </div>
  )
}

function Channels({
  channels,
  value,
  set,
}: {
  readonly channels: Loaded<{ readonly items: readonly ChannelName[] }>
  readonly value: readonly string[]
  readonly set: (value: string[]) => void
}) {
  const items = channels.value?.items ?? []
  const gone = value.filter((id) => channels.value && !items.some((it) => it.id === id))
  return (
    <fieldset class="choices">
      <legend>Sent over these channels</legend>
      {channels.error !== undefined && <p class="note">The channels could not be read.</p>}
      {channels.value && items.length === 0 && (
        <p class="muted">
          There are no channels yet. <a href="/channels">Make one</a>: a webhook, email, push or MQTT.
        </p>
      )}
      {items.map(({ id, name }) => (
        <label key={id}>
          <input
            type="checkbox"
            checked={value.includes(id)}
            onChange={() => set(value.includes(id) ? value.filter((one) => one !== id) : [...value, id])}
          />
          <span class="breaks">{name}</span>
        </label>
      ))}
      {gone.map((id) => (
        <label key={id}>
          <input type="checkbox" checked onChange={() => set(value.filter((one) => one !== id))} />
          <span class="breaks">{id}</span> <span class="badge badge-bad">Deleted</span>
        </label>
      ))}
      {items.length > 0 && (
        <p>
          <a href="/channels">Channels</a>
        </p>
      )}
    </fieldset>
  )
}
