import { useId } from 'preact/hooks'
import { valueAt } from '../device-settings.ts'
import { useLoaded } from '../loaded.ts'
import type { ScenarioDocument, Trouble } from '../scenario-types.ts'
import type { Effective } from '../scenarios.ts'
import * as scenarios from '../scenarios.ts'
import { Troubles, under } from './scenario-troubles.tsx'
import {
  keyOf,
  pathsIn,
  plain,
  SETTINGS,
  type Setting,
  type SettingValue,
  valueWords,
  withValue,
} from './setting-words.ts'

/** Only those settings that the scenario changes; others are added from a list. */

/** Devices that are asked what holds now. */
const DEVICES_MAX = 8

export function Settings({
  document,
  set,
  covered,
  problems,
}: {
  readonly document: ScenarioDocument
  readonly set: (change: Partial<ScenarioDocument>) => void
  readonly covered: readonly string[]
  readonly problems: readonly Trouble[]
}) {
  const own = useOwn(covered)
  const known = new Map(SETTINGS.map((setting) => [keyOf(setting), setting]))
  const { process: _looks, ...settings } = document.settings
  const paths = pathsIn({ settings, detect: document.detect })
  const set_ = paths.map((path) => path.join('.'))
  const shown = SETTINGS.filter((setting) => set_.includes(keyOf(setting)))
  const others = paths.filter((path) => !known.has(path.join('.')))
  const free = SETTINGS.filter((setting) => !set_.includes(keyOf(setting)))
  const change = (path: readonly string[], value: SettingValue | undefined) =>
    set(withValue(document, path, value))
  const beside = problems.filter(
    ({ path }) =>
      (path[0] === 'settings' || path[0] === 'detect') &&
      path[1] !== 'process' &&
      !paths.some((it) => isPart(it, path)),
  )
  return (
    <>
      {paths.length === 0 && <p class="muted">None: each device keeps its own settings.</p>}
      {paths.length > 0 && (
        <ul class="settings">
          {shown.map((setting) => (
            <li key={keyOf(setting)} class="setting">
              <Field
                setting={setting}
                value={valueAt(document, setting.path)}
                own={ownWords(own, setting)}
                models={own.flatMap(({ models }) => models)}
                change={(value) => change(setting.path, value)}
              />
              <Troubles of={under(problems, ...setting.path)} />
            </li>
          ))}
          {others.map((path) => (
            <li key={path.join('.')} class="setting">
              <div class="setting-row">
                <div>
                  <strong class="breaks">{path.slice(1).join(' › ')}</strong>
                  <p class="muted breaks">{plain(valueAt(document, path))}</p>
                </div>
                <button type="button" class="button" onClick={() => change(path, undefined)}>
                  Remove<span class="visually-hidden"> {path.slice(1).join(' ')}</span>
                </button>
              </div>
              <Troubles of={under(problems, ...path)} />
            </li>
          ))}
        </ul>
      )}
      <Troubles of={beside} />
      <label class="field field-narrow">
        <span>Add a setting</span>
        <select
          value=""
          onChange={({ currentTarget }) => {
            const setting = known.get(currentTarget.value)
            currentTarget.value = ''
            if (setting) change(setting.path, beginOf(setting, own))
          }}
        >
          <option value="">Choose one …</option>
          {[...new Set(free.map(({ group }) => group))].map((group) => (
            <optgroup key={group} label={group}>
              {free
                .filter((setting) => setting.group === group)
                .map((setting) => (
                  <option key={keyOf(setting)} value={keyOf(setting)}>
                    {setting.title}
                  </option>
                ))}
            </optgroup>
          ))}
        </select>
      </label>
      <p class="note">
        What belongs to one camera’s picture (the part that is looked at, masks, the shape of its crops) is
        set on the page of its <a href="/devices">device</a>.
      </p>
    </>
  )
}

const isPart = (whole: readonly string[], path: readonly (string | number)[]) =>
  whole.every((step, index) => path[index] === undefined || String(path[index]) === step)

/** Of one camera: what holds there now. */
export interface Own {
  readonly camera: string
  readonly settings: Readonly<Record<string, unknown>> | undefined
  readonly detect: Readonly<Record<string, unknown>> | undefined
  readonly models: readonly string[]
  readonly classifiers: readonly string[]
  /** Names of the device's own second looks. */
  readonly looks: readonly string[]
}

export function useOwn(covered: readonly string[]): readonly Own[] {
  const devices = [...new Set(covered.map((path) => path.split('/').slice(0, 2).join('/')))].slice(
    0,
    DEVICES_MAX,
  )
  const loaded = useLoaded(`settings of ${devices.join()}`, async (signal) => {
    const all = await Promise.all(
      devices.map(async (device): Promise<readonly [string, Effective | undefined]> => {
        const [site = '', name = ''] = device.split('/')
        // Hints: one that is not to be had is left out.
        return [device, await scenarios.deviceSettings(site, name, signal).catch(() => undefined)]
      }),
    )
    return new Map(all)
  })
  return covered.flatMap((path): Own[] => {
    const [site = '', device = '', camera = ''] = path.split('/')
    const reported = loaded.value?.get(`${site}/${device}`)?.reported
    const { effective } = reported ?? {}
    if (!effective) return []
    return [
      {
        camera,
        settings: effective.cameras?.[camera],
        detect: effective.detect,
        models: reported?.models ?? [],
        classifiers: reported?.classifiers ?? [],
        looks: (effective.process ?? []).filter(({ from }) => from === 'file').map(({ name }) => name),
      },
    ]
  })
}

/** `Now: 50 % on gate, 30 % on door` */
function ownWords(own: readonly Own[], setting: Setting): string | undefined {
  const by = new Map<string, string[]>()
  for (const { camera, settings, detect } of own) {
    const value = valueAt({ settings, detect }, setting.path)
    if (value === undefined) continue
    const words = valueWords(setting, value)
    by.set(words, [...(by.get(words) ?? []), camera])
  }
  if (by.size === 0) return undefined
  const [only] = [...by.keys()]
  if (by.size === 1) return `On the device now: ${only}`
  return `On the devices now: ${[...by].map(([words, cameras]) => `${words} (${cameras.join(', ')})`).join('; ')}`
}

function beginOf(setting: Setting, own: readonly Own[]): SettingValue {
  const { kind } = setting
  switch (kind.is) {
    case 'choice':
      return kind.choices[0]?.[0] ?? null
    case 'switch':
      return true
    case 'number':
    case 'duration':
      return kind.begin
    case 'model': {
      const value = own.map(({ detect }) => detect?.model).find((it) => typeof it === 'string')
      return value ?? 'blazeface'
    }
  }
}

function Field({
  setting,
  value,
  own,
  models,
  change,
}: {
  readonly setting: Setting
  readonly value: unknown
  readonly own: string | undefined
  readonly models: readonly string[]
  readonly change: (value: SettingValue | undefined) => void
}) {
  const id = useId()
  return (
    <div class="setting-row">
      <div class="setting-field">
        <label for={id}>
          <strong>{setting.title}</strong> <span class="muted">{setting.text}</span>
        </label>
        <Input id={id} setting={setting} value={value} models={models} change={change} />
        {own && <p class="setting-own">{own}</p>}
      </div>
      <button type="button" class="button" onClick={() => change(undefined)}>
        Remove<span class="visually-hidden"> {setting.title}</span>
      </button>
    </div>
  )
}

function Input({
  id,
  setting: { kind },
  value,
  models,
  change,
}: {
  readonly id: string
  readonly setting: Setting
  readonly value: unknown
  readonly models: readonly string[]
  readonly change: (value: SettingValue) => void
}) {
  switch (kind.is) {
    case 'choice':
      return (
        <div class="field">
          <select
            id={id}
            value={String(value)}
            onChange={({ currentTarget: { value: text } }) =>
              change(kind.choices.find(([it]) => String(it) === text)?.[0] ?? text)
            }
          >
            {kind.choices.map(([it, words]) => (
              <option key={String(it)} value={String(it)}>
                {words}
              </option>
            ))}
          </select>
        </div>
      )
    case 'switch':
      return (
        <div class="field">
          <select
            id={id}
            value={String(value)}
            onChange={({ currentTarget: { value: text } }) => change(text === 'true')}
          >
            <option value="true">{kind.on}</option>
            <option value="false">{kind.off}</option>
          </select>
        </div>
      )
    case 'number': {
      const scale = kind.scale ?? 1
      const isWord = kind.word !== undefined && value === kind.word[0]
      return (
        <div class="setting-number">
          <div class="field">
            <input
              id={id}
              type="number"
              min={kind.min * scale}
              max={kind.max * scale}
              step="any"
              disabled={isWord}
              value={typeof value === 'number' ? rounded(value * scale) : ''}
              onInput={({ currentTarget: { value: text } }) => {
                if (text === '') return
                const number = Number(text) / scale
                change(kind.isWhole ? Math.round(number) : Math.round(number * 1e6) / 1e6)
              }}
            />
          </div>
          <span>{kind.unit}</span>
          {kind.word && (
            <label class="setting-word">
              <input
                type="checkbox"
                checked={isWord}
                onChange={() => kind.word && change(isWord ? kind.begin : kind.word[0])}
              />
              {kind.word[1]}
            </label>
          )}
        </div>
      )
    }
    case 'duration':
      return <DurationInput id={id} value={String(value)} change={change} />
    case 'model':
      return (
        <div class="field">
          <input
            id={id}
            class="mono"
            list={`${id}-models`}
            maxLength={100}
            value={String(value)}
            onInput={({ currentTarget: { value: text } }) => change(text)}
          />
          <datalist id={`${id}-models`}>
            {[...new Set(models)].map((model) => (
              <option key={model} value={model} />
            ))}
          </datalist>
        </div>
      )
  }
}

const rounded = (value: number) => Math.round(value * 1e6) / 1e6

const UNITS = [
  ['ms', 'milliseconds'],
  ['s', 'seconds'],
  ['m', 'minutes'],
  ['h', 'hours'],
  ['d', 'days'],
] as const

/** A number and its unit, as configuration files have them: `5s`. */
function DurationInput({
  id,
  value,
  change,
}: {
  readonly id: string
  readonly value: string
  readonly change: (value: string) => void
}) {
  const [, number = '', unit = 's'] = /^([\d.]*)(ms|s|m|h|d)$/.exec(value) ?? []
  return (
    <div class="setting-number">
      <div class="field">
        <input
          id={id}
          type="number"
          min="0"
          step="any"
          value={number}
          onInput={({ currentTarget: { value: text } }) => text !== '' && change(`${Number(text)}${unit}`)}
        />
      </div>
      <div class="field">
        <select
          aria-label="Unit"
          value={unit}
          onChange={({ currentTarget: { value: next } }) => change(`${number || 0}${next}`)}
        >
          {UNITS.map(([it, words]) => (
            <option key={it} value={it}>
              {words}
            </option>
          ))}
        </select>
      </div>
    </div>
  )
}
