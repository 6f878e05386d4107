import { useRef } from 'preact/hooks'
import type { Rule } from '../scenario-types.ts'
import { ruleWords } from './rule-words.ts'

/** Title and text of a notice, with placeholders, and how they read. */

/** As rules/placeholders.ts knows them; what they say here is made up. */
const PLACEHOLDERS = {
  scenario: 'the scenario’s name',
  rule: 'the rule’s name',
  site: 'the site',
  device: 'the device',
  camera: 'the camera',
  time: 'when it was',
  zones: 'the zones',
  count: 'how many',
  masked: 'with or without a mask',
  attributes: 'what classifiers say',
} as const

export function RuleMessage({
  rule,
  scenario,
  set,
}: {
  readonly rule: Rule
  readonly scenario: string
  readonly set: (part: Partial<Rule>) => void
}) {
  const last = useRef<'title' | 'text'>('text')
  const examples: Readonly<Record<keyof typeof PLACEHOLDERS, string>> = {
    ...{ scenario: scenario || 'Visitors', rule: rule.name, site: 'home', device: 'pi', camera: 'door' },
    ...{
      time: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
      zones: rule.conditions.zones?.join(', ') || 'entrance',
    },
    count: String((rule.conditions.moreThan ?? 0) + 1),
    masked: rule.conditions.masked === false ? 'without a mask' : 'with a mask',
    attributes: (rule.conditions.attributes ?? [{ name: 'glasses', labels: ['yes'] }])
      .map(({ name, labels: [label] }) => `${name}: ${label} (97 %)`)
      .join(', '),
  }
  const filled = (text: string) =>
    text.replace(/\{(\w+)\}/g, (whole, name: string) =>
      name in examples ? examples[name as keyof typeof examples] : whole,
    )
  const unknown = [...`${rule.title ?? ''} ${rule.text ?? ''}`.matchAll(/\{(\w+)\}/g)]
    .map(([, name = '']) => name)
    .filter((name) => !(name in PLACEHOLDERS))
  return (
    <div class="message">
      <label class="field">
        <span>Title (empty: the rule’s name and the camera)</span>
        <input
          maxLength={200}
          value={rule.title ?? ''}
          placeholder="{rule}: {camera}"
          onFocus={() => {
            last.current = 'title'
          }}
          onInput={({ currentTarget: { value } }) => set({ title: value === '' ? undefined : value })}
        />
      </label>
      <label class="field field-text">
        <span>Text (empty: a sentence about what happened)</span>
        <textarea
          rows={2}
          maxLength={2000}
          value={rule.text ?? ''}
          onFocus={() => {
            last.current = 'text'
          }}
          onInput={({ currentTarget: { value } }) => set({ text: value === '' ? undefined : value })}
        />
      </label>
      <p class="buttons">
        {Object.entries(PLACEHOLDERS).map(([name, words]) => (
          <button
            key={name}
            type="button"
            class="chip mono"
            title={`Puts in ${words}`}
            onClick={() => set({ [last.current]: `${rule[last.current] ?? ''}{${name}}` })}
          >
            {`{${name}}`}
          </button>
        ))}
      </p>
      {unknown.length > 0 && (
        <p class="field-wrong">
          Not known, and left as it is: {unknown.map((name) => `{${name}}`).join(', ')}
        </p>
      )}
      <figure class="preview">
        <figcaption class="muted">How it would read</figcaption>
        <strong>{filled(rule.title ?? '{rule}: {camera}')}</strong>
        <p>{filled(rule.text ?? ruleWords(rule))}</p>
      </figure>
    </div>
  )
}
