import { useEffect, useId, useState } from 'preact/hooks'
import { type Document, exampleOf, type Operation, type Parameter, resolve } from './openapi.ts'

/** More of an answer than a page can show. */
const SHOWN_CHARACTERS_MAX = 40_000
const ANSWER_MS_MAX = 30_000

interface Answer {
  readonly status: string
  readonly type: string
  readonly ms: number
  readonly text: string
  /** Of a picture. */
  readonly url: string | undefined
}

/** A form of an operation's parameters; sends it with the reader's own session, and shows the answer. */
export function TryIt({
  operation,
  document,
}: {
  readonly operation: Operation
  readonly document: Document
}) {
  const [values, setValues] = useState<Readonly<Record<string, string>>>({})
  const [body, setBody] = useState(() =>
    operation.body ? JSON.stringify(exampleOf(operation.body, document), undefined, 2) : '',
  )
  const [answer, setAnswer] = useState<Answer | undefined>(undefined)
  const [isWorking, setWorking] = useState(false)
  const parameters = operation.parameters.filter(
    (parameter) => parameter.in === 'path' || parameter.in === 'query',
  )
  const address = addressOf(operation, parameters, values)
  const isEndless = operation.answers.some(
    ({ type }) => type === 'text/event-stream' || type?.startsWith('multipart/'),
  )
  const url = answer?.url
  useEffect(
    () => () => {
      if (url) URL.revokeObjectURL(url)
    },
    [url],
  )
  async function send(): Promise<void> {
    setWorking(true)
    setAnswer(await answerOf(operation, address, body))
    setWorking(false)
  }
  return (
    <form
      class="try"
      onSubmit={(event) => {
        event.preventDefault()
        void send()
      }}
    >
      {parameters.length > 0 && (
        <div class="try-fields">
          {parameters.map((parameter) => (
            <Field
              key={`${parameter.in} ${parameter.name}`}
              parameter={parameter}
              document={document}
              value={values[parameter.name] ?? ''}
              onInput={(value) => setValues((old) => ({ ...old, [parameter.name]: value }))}
            />
          ))}
        </div>
      )}
      {operation.body && (
        <label class="field">
          <span>Body, JSON</span>
          <textarea
            class="mono"
            rows={Math.min(12, body.split('\n').length + 1)}
            spellcheck={false}
            value={body}
            onInput={({ currentTarget: { value } }) => setBody(value)}
          />
        </label>
      )}
      <p class="try-address mono breaks">
        {operation.method} {address}
      </p>
      {isEndless ? (
        <p class="muted">This answer has no end: open it with a program, such as curl -N.</p>
      ) : (
        <button
          type="submit"
          class={`button ${operation.method === 'GET' ? 'button-strong' : 'button-danger'}`}
          disabled={isWorking}
        >
          {isWorking ? 'Sending …' : 'Send'}
        </button>
      )}
      {answer && (
        <div class="try-answer" role="status">
          <p>
            <strong>{answer.status}</strong>{' '}
            <span class="muted">
              {answer.type}, {Math.round(answer.ms)} ms
            </span>
          </p>
          {answer.url ? (
            <img src={answer.url} alt="What was answered" />
          ) : (
            answer.text !== '' && <pre>{answer.text}</pre>
          )}
        </div>
      )}
    </form>
  )
}

function Field({
  parameter,
  document,
  value,
  onInput,
}: {
  readonly parameter: Parameter
  readonly document: Document
  readonly value: string
  readonly onInput: (value: string) => void
}) {
  const schema = parameter.schema && resolve(parameter.schema, document)
  const about = parameter.description ?? schema?.description
  const isRequired = parameter.required ?? false
  const id = useId()
  return (
    <div class="field">
      <label for={id}>
        <code>{parameter.name}</code> {isRequired && <em>required</em>}
      </label>
      {schema?.enum ? (
        <select
          id={id}
          value={value}
          required={isRequired}
          onChange={({ currentTarget }) => onInput(currentTarget.value)}
        >
          <option value="" />
          {schema.enum.map((one) => (
            <option key={String(one)} value={String(one)}>
              {String(one)}
            </option>
          ))}
        </select>
      ) : (
        <input
          id={id}
          value={value}
          required={isRequired}
          placeholder={schema?.default === undefined ? '' : String(schema.default)}
          onInput={({ currentTarget }) => onInput(currentTarget.value)}
        />
      )}
      {about && <small class="muted">{about}</small>}
    </div>
  )
}

function addressOf(
  { path }: Operation,
  parameters: readonly Parameter[],
  values: Readonly<Record<string, string>>,
): string {
  const filled = path.replace(/\{([^}]+)\}/g, (whole, name: string) => {
    const value = values[name]
    return value ? encodeURIComponent(value) : whole
  })
  const query = new URLSearchParams()
  for (const { name, in: where } of parameters) {
    const value = values[name]
    if (where === 'query' && value) query.set(name, value)
  }
  const base = filled.startsWith('/api/v1') ? filled : `/api/v1${filled}`
  return query.size === 0 ? base : `${base}?${query}`
}

async function answerOf({ method, body: schema }: Operation, address: string, body: string): Promise<Answer> {
  const began = performance.now()
  try {
    const response = await fetch(address, {
      method,
      credentials: 'same-origin',
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
      ...(schema && { body, headers: { 'content-type': 'application/json' } }),
    })
    const type = response.headers.get('content-type') ?? ''
    const blob = await response.blob()
    const isPicture = type.startsWith('image/')
    return {
      status: `${response.status} ${response.statusText}`,
      type: type || 'no content',
      ms: performance.now() - began,
      text: isPicture ? '' : shown(await blob.text(), type),
      url: isPicture ? URL.createObjectURL(blob) : undefined,
    }
  } catch (error) {
    return {
      status: 'No answer',
      type: String(error),
      ms: performance.now() - began,
      text: '',
      url: undefined,
    }
  }
}

function shown(text: string, type: string): string {
  const whole = /json/.test(type) && !/ndjson/.test(type) ? pretty(text) : text
  return whole.length > SHOWN_CHARACTERS_MAX
    ? `${whole.slice(0, SHOWN_CHARACTERS_MAX)}\n… and ${whole.length - SHOWN_CHARACTERS_MAX} characters more`
    : whole
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2)
  } catch {
    return text
  }
}
