import { useId } from 'preact/hooks'
import { type Look, plain } from '../look-types.ts'
import type { Trouble } from '../scenario-types.ts'
import { style } from '../styles.ts'
import { Troubles, under } from '../views/scenario-troubles.tsx'

await style('looks.css')

const NAME = '[A-Za-z0-9_][A-Za-z0-9_\\-]{0,62}'

/** Second looks at each face: classifiers, by the models that they have. */
export function LookList({
  looks,
  models,
  change,
  troubles = [],
}: {
  readonly looks: readonly Look[]
  /** What there is to choose from, as far as that is known; any other name may be typed. */
  readonly models: readonly string[]
  readonly change: (looks: readonly Look[]) => void
  /** Below `process` of the document. */
  readonly troubles?: readonly Trouble[]
}) {
  const list = useId()
  const set = (at: number, next: Partial<Look>) =>
    change(looks.map((look, n) => (n === at ? plain({ ...look, ...next }) : look)))
  return (
    <div class="looks-part">
      {looks.length > 0 && (
        <ul class="looks plain" aria-label="Second looks">
          {looks.map(({ name, model, scoreMin }, at) => (
            <li key={at} class="look">
              <div class="look-fields">
                <label class="field">
                  <span>What it tells, such as mask</span>
                  <input
                    required
                    maxLength={63}
                    pattern={NAME}
                    title="Letters, digits, dash and underscore"
                    autocomplete="off"
                    spellcheck={false}
                    value={name}
                    onChange={({ currentTarget: { value } }) => set(at, { name: value.trim() })}
                  />
                </label>
                <label class="field">
                  <span>Model</span>
                  <input
                    required
                    maxLength={100}
                    autocomplete="off"
                    spellcheck={false}
                    list={list}
                    value={model}
                    onChange={({ currentTarget: { value } }) => set(at, { model: value.trim() })}
                  />
                </label>
                <label class="field">
                  <span>Said from, %</span>
                  <input
                    type="number"
                    min="0"
                    max="100"
                    step="1"
                    placeholder="as suits the model"
                    value={scoreMin === undefined ? '' : String(Math.round(scoreMin * 100))}
                    onChange={({ currentTarget: { value } }) =>
                      set(at, { scoreMin: value === '' ? undefined : Number(value) / 100 })
                    }
                  />
                </label>
              </div>
              <Troubles of={under(troubles, 'process', at)} />
              <p class="buttons">
                <button type="button" class="button" onClick={() => change(looks.filter((_, n) => n !== at))}>
                  Remove<span class="visually-hidden"> the second look {name}</span>
                </button>
              </p>
            </li>
          ))}
        </ul>
      )}
      <datalist id={list}>
        {[...new Set(models)].map((model) => (
          <option key={model} value={model} />
        ))}
      </datalist>
      <p class="buttons">
        <button type="button" class="button" onClick={() => change([...looks, { name: '', model: '' }])}>
          Add a second look
        </button>
      </p>
    </div>
  )
}

/** Which second looks cameras have: all of their device's, or those that are ticked. */
export function LookChoice({
  title,
  value,
  names,
  now,
  change,
}: {
  readonly title: string
  readonly value: readonly string[] | undefined
  readonly names: readonly string[]
  /** What it means where nothing is set. */
  readonly now: string
  readonly change: (value: readonly string[] | undefined) => void
}) {
  const all = [...new Set([...names, ...(value ?? [])])].filter((name) => name !== '')
  return (
    <div class="looks-part">
      <label class="field">
        <span>{title}</span>
        <select
          value={value === undefined ? '' : 'some'}
          onChange={({ currentTarget: { value: chosen } }) => change(chosen === '' ? undefined : all)}
        >
          <option value="">({now})</option>
          <option value="some">those that are ticked</option>
        </select>
      </label>
      {value !== undefined && (
        <fieldset class="choices">
          <legend>With none ticked, nobody looks again.</legend>
          {all.length === 0 && <p class="muted">There are none.</p>}
          {all.map((name) => (
            <label key={name}>
              <input
                type="checkbox"
                checked={value.includes(name)}
                onChange={() =>
                  change(value.includes(name) ? value.filter((it) => it !== name) : [...value, name])
                }
              />
              {name}
            </label>
          ))}
        </fieldset>
      )}
    </div>
  )
}
