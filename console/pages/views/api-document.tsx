import { useMemo, useState } from 'preact/hooks'
import { request } from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { Shown, Waiting } from '../parts/states.tsx'
import { style } from '../styles.ts'
import { TryIt } from './api-try.tsx'
import { type Document, type Operation, operationsOf, type Schema, schemaWords } from './openapi.ts'

await style('api.css')

/** The API's document, readable; each operation can be tried with the reader's own session. */
export default function ApiPage() {
  const document = useLoaded('openapi', (signal) => request<Document>('GET', '/openapi.json', { signal }))
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>API</h1>
          <p class="page-sub">
            What these pages show, for programs. <a href="/api/v1/openapi.json">OpenAPI 3.1 document</a> ·{' '}
            <a href="/people?tab=tokens">Make a token</a>
          </p>
        </div>
      </header>
      <Shown of={document} waiting={<Waiting rows={8} />}>
        {(value) => <Reference document={value} />}
      </Shown>
    </div>
  )
}

function Reference({ document }: { readonly document: Document }) {
  const [search, setSearch] = useState('')
  const operations = useMemo(() => operationsOf(document), [document])
  const wanted = search.trim().toLowerCase()
  const shown = operations.filter(
    ({ path, summary, method }) =>
      wanted === '' || `${method} ${path} ${summary}`.toLowerCase().includes(wanted),
  )
  const tags = [...new Set(shown.map(({ tag }) => tag))]
  const about = new Map(document.tags?.map(({ name, description }) => [name, description]))
  return (
    <>
      {document.info.description && <p class="api-about">{document.info.description}</p>}
      <pre class="api-first">{`curl -H 'Authorization: Bearer TOKEN' ${location.origin}/api/v1/detections?limit=5`}</pre>
      <label class="field api-search">
        <span>Find</span>
        <input
          type="search"
          value={search}
          placeholder="detections"
          onInput={({ currentTarget: { value } }) => setSearch(value)}
        />
      </label>
      {tags.map((tag) => (
        <section key={tag} aria-labelledby={`tag-${tag}`}>
          <h2 id={`tag-${tag}`}>{tag}</h2>
          {about.get(tag) && <p class="muted">{about.get(tag)}</p>}
          {shown
            .filter((operation) => operation.tag === tag)
            .map((operation) => (
              <One key={`${operation.method} ${operation.path}`} operation={operation} document={document} />
            ))}
        </section>
      ))}
      {shown.length === 0 && <p class="muted">No operations match.</p>}
    </>
  )
}

function One({ operation, document }: { readonly operation: Operation; readonly document: Document }) {
  const [isOpen, setOpen] = useState(false)
  return (
    <details class="operation" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        <span class="method" data-method={operation.method}>
          {operation.method}
        </span>
        <code class="operation-path">{operation.path}</code>
        <span class="operation-summary">{operation.summary}</span>
      </summary>
      {isOpen && (
        <div class="operation-body">
          {operation.description && <p>{operation.description}</p>}
          <TryIt operation={operation} document={document} />
          <Answers operation={operation} document={document} />
        </div>
      )}
    </details>
  )
}

function Answers({ operation, document }: { readonly operation: Operation; readonly document: Document }) {
  return (
    <>
      <h4>Answers</h4>
      <dl class="facts">
        {operation.answers.map(({ status, description, schema }) => [
          <dt key={`${status} name`}>{status}</dt>,
          <dd key={status}>
            {description}
            {schema && <Shape schema={schema} document={document} />}
          </dd>,
        ])}
      </dl>
    </>
  )
}

function Shape({ schema, document }: { readonly schema: Schema; readonly document: Document }) {
  const { title, text } = schemaWords(schema, document)
  return (
    <details class="details">
      <summary>{title}</summary>
      <pre>{text}</pre>
    </details>
  )
}
