import { useState } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import { Dialog } from '../parts/dialog.tsx'
import { icons } from '../parts/icons.tsx'
import { freeName } from '../parts/zone-shape.ts'
import type { Rule, ScenarioDocument, Trouble } from '../scenario-types.ts'
import * as scenarios from '../scenarios.ts'
import { RuleForm } from './rule-form.tsx'
import { kindOf, LEVELS, RULE_KINDS, type RuleKind, ruleWords } from './rule-words.ts'
import { besides, Troubles, under } from './scenario-troubles.tsx'

/** Rules: each a sentence, and its form where somebody opens it. */

const RULES_MAX = 50

export function Rules({
  document,
  set,
  problems,
}: {
  readonly document: ScenarioDocument
  readonly set: (change: Partial<ScenarioDocument>) => void
  readonly problems: readonly Trouble[]
}) {
  const { rules } = document
  const [isAdding, setAdding] = useState(false)
  const [opened, setOpened] = useState<string | undefined>(undefined)
  const channels = useLoaded('channels of rules', scenarios.channels)
  const change = (index: number, rule: Rule) =>
    set({ rules: rules.map((old, at) => (at === index ? rule : old)) })
  const add = (kind: RuleKind) => {
    const id = freeName(
      kind.on,
      rules.map((rule) => rule.id),
    )
    const rule: Rule = {
      ...{ id, name: kind.title, enabled: true, on: kind.on, conditions: {}, holdMs: 0, cooldownMs: 0 },
      ...{ per: 'track', level: 'info', notify: [] },
      ...kind.begin,
    }
    set({ rules: [...rules, rule] })
    setOpened(id)
    setAdding(false)
  }
  return (
    <>
      {rules.length === 0 ? (
        <p class="muted">
          None: nobody is told anything. A scenario without rules still changes settings and zones.
        </p>
      ) : (
        <ul class="rules">
          {rules.map((rule, index) => {
            const of = under(problems, 'rules', index)
            const isOpen = opened === rule.id
            return (
              <li key={rule.id} class="rule" data-off={rule.enabled ? undefined : ''}>
                <div class="rule-head">
                  <span class="rule-picture">{icons[kindOf(rule.on).icon]()}</span>
                  <div class="rule-text">
                    <h3>
                      {rule.name}{' '}
                      {rule.level !== 'info' && (
                        <span class={`badge${rule.level === 'problem' ? ' badge-bad' : ''}`}>
                          {LEVELS[rule.level]}
                        </span>
                      )}{' '}
                      {!rule.enabled && <span class="badge">Off</span>}
                    </h3>
                    <p>{ruleWords(rule)}</p>
                    <p class="muted">{whoWords(rule, channels.value?.items)}</p>
                  </div>
                  <p class="buttons">
                    <button
                      type="button"
                      class="button"
                      aria-expanded={isOpen}
                      onClick={() => setOpened(isOpen ? undefined : rule.id)}
                    >
                      {isOpen ? 'Close' : 'Change'}
                      <span class="visually-hidden"> {rule.name}</span>
                    </button>
                    <button
                      type="button"
                      class="button button-danger"
                      onClick={() => set({ rules: rules.toSpliced(index, 1) })}
                    >
                      Remove<span class="visually-hidden"> {rule.name}</span>
                    </button>
                  </p>
                </div>
                {isOpen ? (
                  <RuleForm
                    rule={rule}
                    zones={[...new Set(document.zones.map(({ name }) => name))]}
                    channels={channels}
                    scenario={document.name}
                    problems={of.map((it) => ({ ...it, path: it.path.slice(2) }))}
                    change={(next) => change(index, next)}
                  />
                ) : (
                  <Troubles of={of} />
                )}
              </li>
            )
          })}
        </ul>
      )}
      <Troubles
        of={besides(
          problems,
          ['rules'],
          rules.map((_, index) => String(index)),
        )}
      />
      <p>
        <button
          type="button"
          class="button"
          disabled={rules.length >= RULES_MAX}
          onClick={() => setAdding(true)}
        >
          Add a rule
        </button>
      </p>
      {isAdding && (
        <Dialog title="What shall be noticed?" wide onClose={() => setAdding(false)}>
          <ul class="provided">
            {RULE_KINDS.map((kind) => (
              <li key={kind.on}>
                <button type="button" class="provided-card" onClick={() => add(kind)}>
                  <span class="provided-picture">{icons[kind.icon]()}</span>
                  <strong>{kind.title}</strong>
                  <span class="muted">{kind.text}</span>
                </button>
              </li>
            ))}
          </ul>
        </Dialog>
      )}
    </>
  )
}

function whoWords(
  { notify }: Rule,
  channels: readonly { readonly id: string; readonly name: string }[] | undefined,
): string {
  if (notify.length === 0) return 'Nobody is told: it is only written down.'
  const names = notify.map((id) => channels?.find((it) => it.id === id)?.name ?? id)
  return `Goes to ${names.join(', ')}.`
}
