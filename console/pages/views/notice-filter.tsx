import type { ComponentChildren } from 'preact'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { scenarioNames } from '../notices.ts'
import { ask, place } from '../router.ts'
import { may } from '../session.ts'
import { cameraKey, cameraTitle } from '../words.ts'

/** What notices and decisions are narrowed by, in the address bar: scenario and camera, and what each adds. */

export type Names = ReadonlyMap<string, string>

const NONE = { items: [] }

/** @param seen scenarios that are in what is shown: who may not have the list has those */
export function useScenarios(seen: Names) {
  const listed = useLoaded('scenario names', (signal) =>
    may('scenarios') ? scenarioNames(signal) : Promise.resolve(NONE),
  )
  const scenarios = listed.value?.items ?? []
  const names: Names = new Map([...seen, ...scenarios.map(({ id, name }) => [id, name] as const)])
  const rulesOf = (id: string | undefined): Names =>
    new Map(
      scenarios
        .filter((it) => it.id === id)
        .flatMap(({ document }) => (document?.rules ?? []).map((rule) => [rule.id, rule.name] as const)),
    )
  const ruleName = (scenario: string, rule: string) => rulesOf(scenario).get(rule) ?? rule
  return { names, rulesOf, ruleName }
}

export function NoticeFilter({
  scenarios,
  children,
}: {
  readonly scenarios: Names
  readonly children?: ComponentChildren
}) {
  const { query } = place.value
  const cameras = useLoaded('notice cameras', (signal) => api.cameras(signal))
  const scenario = query.get('scenario') ?? ''
  const camera = query.get('camera') ?? ''
  const places = (cameras.value?.items ?? []).map((it) => [cameraKey(it), it] as const)
  const isFiltered = ['scenario', 'camera', 'level', 'state', 'rule'].some((name) => query.has(name))
  return (
    <form class="filters" aria-label="Filters" data-open="" onSubmit={(event) => event.preventDefault()}>
      <Choice
        label="Scenario"
        value={scenario}
        options={withValue([...scenarios], scenario)}
        all="All scenarios"
        choose={(value) => ask({ scenario: value, rule: undefined })}
      />
      <Choice
        label="Camera"
        value={camera}
        options={withValue(
          places.map(([key, it]) => [key, `${cameraTitle(it)} (${it.site} · ${it.device})`] as const),
          camera,
        )}
        all="All cameras"
        choose={(value) => ask({ camera: value })}
      />
      {children}
      {isFiltered && (
        <button
          type="button"
          class="link-button filters-clear"
          onClick={() =>
            ask({
              scenario: undefined,
              camera: undefined,
              level: undefined,
              state: undefined,
              rule: undefined,
            })
          }
        >
          Clear the filters
        </button>
      )}
    </form>
  )
}

/** What stands in the address stays to be chosen, known or not. */
const withValue = (options: readonly (readonly [string, string])[], value: string) =>
  value === '' || options.some(([known]) => known === value) ? options : [...options, [value, value] as const]

export function Choice({
  label,
  value,
  options,
  all,
  choose,
}: {
  readonly label: string
  readonly value: string
  readonly options: readonly (readonly [string, string])[]
  readonly all: string
  readonly choose: (value: string | undefined) => void
}) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={({ currentTarget }) => choose(currentTarget.value || undefined)}>
        <option value="">{all}</option>
        {options.map(([key, title]) => (
          <option key={key} value={key}>
            {title}
          </option>
        ))}
      </select>
    </label>
  )
}
