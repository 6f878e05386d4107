import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import type { Rule } from '../scenario-types.ts'
import type { ExpressionCheck } from '../scenarios.ts'
import * as scenarios from '../scenarios.ts'
import { sentence } from './scenario-editing.ts'

/** An expression in CEL, checked as it is typed; where it is wrong is underlined. */

const CHECK_AFTER_MS = 300
const CHARACTERS_MAX = 2000

export function RuleExpression({
  on,
  value,
  set,
}: {
  readonly on: Rule['on']
  readonly value: string | undefined
  readonly set: (value: string | undefined) => void
}) {
  const field = useRef<HTMLTextAreaElement>(null)
  const id = useId()
  const variables = useLoaded('variables of rules', scenarios.variables)
  const [checked, setChecked] = useState<{ text: string; answer: ExpressionCheck } | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const text = value ?? ''
  useEffect(() => {
    if (text.trim() === '') return
    const gone = new AbortController()
    const timer = setTimeout(() => {
      scenarios.checkExpression(text, on, gone.signal).then(
        (answer) => {
          setChecked({ text, answer })
          setError(undefined)
        },
        (problem: unknown) => {
          if (!gone.signal.aborted) setError(problem)
        },
      )
    }, CHECK_AFTER_MS)
    return () => {
      clearTimeout(timer)
      gone.abort()
    }
  }, [text, on])
  const answer = checked?.text === text ? checked.answer : undefined
  const insert = (name: string) => {
    const element = field.current
    const at = element?.selectionStart ?? text.length
    const next = text.slice(0, at) + name + text.slice(element?.selectionEnd ?? at)
    set(next)
    requestAnimationFrame(() => {
      element?.focus()
      element?.setSelectionRange(at + name.length, at + name.length)
    })
  }
  return (
    <div class="expression">
      <label class="field">
        <span>And this expression holds (CEL)</span>
        <textarea
          ref={field}
          rows={3}
          maxLength={CHARACTERS_MAX}
          spellcheck={false}
          autocapitalize="off"
          autocomplete="off"
          placeholder={'score > 0.8 && !("desk" in zones)'}
          value={text}
          aria-invalid={answer?.ok === false}
          aria-describedby={id}
          onInput={({ currentTarget: { value: typed } }) => set(typed.trim() === '' ? undefined : typed)}
        />
      </label>
      <div class="expression-answer" id={id} role="status">
        {text.trim() === '' ? null : error !== undefined ? (
          <p class="note">It could not be checked: {sentence(error)}</p>
        ) : answer === undefined ? (
          <p class="muted">Checking …</p>
        ) : answer.ok ? (
          <p class="expression-right">This can be understood.</p>
        ) : (
          <>
            <Underlined text={text} of={answer.problem} />
            <p class="field-wrong">{answer.problem?.message ?? 'This is no expression.'}</p>
          </>
        )}
      </div>
      <details class="details">
        <summary>What an expression can look at</summary>
        {variables.error !== undefined && <p class="note">{sentence(variables.error)}</p>}
        <dl class="variables">
          {(variables.value?.items.find((it) => it.on === on)?.variables ?? []).map(
            ({ name, type, text: what }) => (
              <div key={name}>
                <dt>
                  <button type="button" class="chip mono" onClick={() => insert(name)}>
                    {name}
                  </button>{' '}
                  <span class="muted">{type}</span>
                </dt>
                <dd>{what}</dd>
              </div>
            ),
          )}
        </dl>
        <p class="muted">
          Compare with <code>==</code>, <code>!=</code>, <code>&lt;</code>, <code>&gt;</code>, join with{' '}
          <code>&amp;&amp;</code>, <code>||</code>, <code>!</code>, ask for an element with <code>in</code>.
        </p>
      </details>
    </div>
  )
}

function Underlined({ text, of }: { readonly text: string; readonly of: ExpressionCheck['problem'] }) {
  if (!of) return null
  const start = Math.min(Math.max(0, of.start), text.length)
  const end = Math.max(start, Math.min(of.end, text.length))
  return (
    <pre class="expression-shown">
      {text.slice(0, start)}
      <mark>{text.slice(start, end) || ' '}</mark>
      {text.slice(end)}
    </pre>
  )
}
