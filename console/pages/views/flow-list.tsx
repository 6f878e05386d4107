import { duration, rate } from '../words.ts'
import { type Flow, type FlowNode, pendingWords, STAGES, type Stage, waitsSince } from './flow-graph.ts'

/** The line in words, from the cameras to the bucket: for a phone, for a screen reader, and on request. */

const TITLES: Readonly<Record<Stage, string>> = {
  camera: 'Cameras',
  agent: 'Agents',
  edge: 'Edge brokers',
  bridge: 'Bridges',
  broker: 'Brokers',
  subscriber: 'Subscribers',
  bucket: 'Buckets',
  database: 'Database',
}

export function FlowList({
  flow,
  now,
  open,
}: {
  readonly flow: Flow
  readonly now: number
  readonly open: (node: FlowNode) => void
}) {
  return (
    <ol class="flow-list">
      {STAGES.map((stage) => {
        const nodes = flow.nodes
          .filter((node) => node.stage === stage)
          .sort((a, b) => (a.site ?? '').localeCompare(b.site ?? '') || a.title.localeCompare(b.title))
        if (nodes.length === 0) return null
        return (
          <li key={stage} class="flow-stage">
            <h2>{TITLES[stage]}</h2>
            <ul>
              {nodes.map((node) => (
                <li key={node.id}>
                  <button type="button" class="flow-row" data-tone={node.tone} onClick={() => open(node)}>
                    <span class="tone" data-tone={node.tone}>
                      <span class="dot" />
                    </span>
                    <span class="flow-row-name">
                      <strong>{node.title}</strong>
                      <span class="muted">{node.site ?? node.sub}</span>
                      {node.why && <span class="flow-row-why">{node.why}</span>}
                    </span>
                    <span class="flow-row-books">
                      <Pending node={node} now={now} />
                      <span class="muted">
                        {rate(node.perS)}/s
                        {node.clipsPerS > 0 && (
                          <span class="flow-clips"> · {rate(node.clipsPerS)} clips/s</span>
                        )}
                      </span>
                    </span>
                  </button>
                </li>
              ))}
            </ul>
          </li>
        )
      })}
    </ol>
  )
}

function Pending({ node, now }: { readonly node: FlowNode; readonly now: number }) {
  const since = waitsSince(node.books, now)
  if (since === undefined) return null
  return (
    <span class="flow-row-late">
      {pendingWords(node)} wait, {duration(now - since)}
    </span>
  )
}
