import { LookChoice, LookList } from '../parts/look-list.tsx'
import { ModelList } from '../parts/model-list.tsx'
import type { ScenarioDocument, Trouble } from '../scenario-types.ts'
import { useOwn } from './scenario-settings.tsx'
import { Troubles, under } from './scenario-troubles.tsx'

/** Second looks that a scenario brings to the devices of its cameras, and models by address. */
export function Looks({
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
  const { process = [], models = [], settings } = document
  const known = own.flatMap(({ classifiers, models: all }) => [...classifiers, ...all])
  const names = [...process.map(({ name }) => name), ...own.flatMap(({ looks }) => looks)]
  return (
    <>
      <LookList
        looks={process}
        models={[...models.map(({ name }) => name), ...known]}
        change={(looks) => set({ process: looks.length === 0 ? undefined : [...looks] })}
        troubles={problems}
      />
      <Troubles of={problems.filter(({ path }) => path[0] === 'process' && path.length === 1)} />
      <LookChoice
        title="Which second looks its cameras have"
        value={settings.process}
        names={names}
        now="all of their device"
        change={(value) => {
          const { process: _before, ...rest } = settings
          set({ settings: value === undefined ? rest : { ...rest, process: [...value] } })
        }}
      />
      <Troubles of={under(problems, 'settings', 'process')} />
      <details class="details" open={models.length > 0}>
        <summary>Models by address</summary>
        <p class="muted">
          Each device fetches them itself, checks them against their SHA-256 and tries them; its own file has
          to allow it.
        </p>
        <ModelList
          models={models}
          change={(next) => set({ models: next.length === 0 ? undefined : [...next] })}
          troubles={problems}
        />
        <Troubles of={problems.filter(({ path }) => path[0] === 'models' && path.length === 1)} />
      </details>
    </>
  )
}
