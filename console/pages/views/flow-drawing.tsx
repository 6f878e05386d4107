import { useEffect, useMemo, useRef } from 'preact/hooks'
import { count, duration, rate } from '../words.ts'
import { isStill, type Lane, moveDots } from './flow-dots.ts'
import { type Flow, type FlowLink, type FlowNode, pendingOf, pendingWords, waitsSince } from './flow-graph.ts'
import { type Box, layOut } from './flow-layout.ts'

/** The line, drawn. Each node opens its books. What the drawing says, the list says in words. */
export function FlowDrawing({
  flow,
  now,
  open,
}: {
  readonly flow: Flow
  readonly now: number
  readonly open: (node: FlowNode) => void
}) {
  // Where things stand depends on who there is, not on how they are.
  const shape =
    flow.nodes.map(({ id, stage }) => `${stage} ${id}`).join('\n') +
    flow.links.map(({ from, to }) => `${from}>${to}`).join('\n')
  // The shape says it.
  const layout = useMemo(() => layOut(flow), [shape])
  const layer = useRef<SVGGElement>(null)
  const paths = useRef(new Map<string, SVGPathElement>())
  const lanes = useRef<readonly Lane[]>([])
  useEffect(() => {
    lanes.current = flow.links.flatMap((link) => {
      const path = paths.current.get(keyOf(link))
      if (!path || !link.isConnected) return []
      return [
        { path, perS: link.perS, kind: 'crops' as const },
        { path, perS: link.clipsPerS, kind: 'clips' as const },
      ].filter(({ perS }) => perS > 0)
    })
  })
  useEffect(() => (layer.current ? moveDots(layer.current, () => lanes.current) : undefined), [])
  return (
    <figure class="flow">
      <div class="flow-scroll">
        <svg
          class="flow-drawing"
          viewBox={`0 0 ${layout.width} ${layout.height}`}
          style={{ minWidth: `${Math.min(layout.width, 900)}px`, maxWidth: `${layout.width * 1.35}px` }}
          aria-label="The line from the cameras to the bucket. Each part opens its books."
        >
          {layout.groups.map((group) => (
            <g key={group.title}>
              <rect
                class="flow-group"
                x={group.x}
                y={group.y}
                width={group.width}
                height={group.height}
                rx="14"
              />
              <text class="flow-group-title" x={group.x + 14} y={group.y + 18}>
                {group.title}
              </text>
            </g>
          ))}
          {flow.links.map((link) => {
            const from = layout.boxes.get(link.from)
            const to = layout.boxes.get(link.to)
            if (!from || !to) return null
            return (
              <Link
                key={keyOf(link)}
                link={link}
                from={from}
                to={to}
                isSplit={flow.links.filter((other) => other.from === link.from).length > 1}
                keep={(path) => {
                  if (path) paths.current.set(keyOf(link), path)
                  else paths.current.delete(keyOf(link))
                }}
              />
            )
          })}
          <g ref={layer} class="flow-dots" />
          {flow.nodes.map((node) => {
            const box = layout.boxes.get(node.id)
            return box && <Node key={node.id} node={node} box={box} now={now} open={open} />
          })}
        </svg>
      </div>
      <figcaption class="flow-legend">
        {!isStill.value && (
          <span>
            <svg viewBox="0 0 8 8" width="8" height="8" aria-hidden="true">
              <circle class="flow-dot-sample" cx="4" cy="4" r="3" />
            </svg>{' '}
            one crop
          </span>
        )}
        {!isStill.value && flow.links.some(({ clipsPerS }) => clipsPerS > 0) && (
          <span>
            <svg viewBox="0 0 14 8" width="14" height="8" aria-hidden="true">
              <rect class="flow-clip-sample" x="1" y="1" width="12" height="6" rx="1.5" />
            </svg>{' '}
            one clip
          </span>
        )}
        <span>
          <i class="flow-sample" data-is="open" /> connected
        </span>
        <span>
          <i class="flow-sample" data-is="cut" /> not connected
        </span>
        <span>
          <i class="flow-sample" data-is="announcements" /> announcements
        </span>
      </figcaption>
    </figure>
  )
}

const keyOf = ({ from, to }: FlowLink) => `${from}\n${to}`

function Link({
  link,
  from,
  to,
  isSplit,
  keep,
}: {
  readonly link: FlowLink
  readonly from: Box
  readonly to: Box
  /** Several begin where it does: then its rate stands where it ends. */
  readonly isSplit: boolean
  readonly keep: (path: SVGPathElement | null) => void
}) {
  const x1 = from.x + from.width
  const y1 = from.y + from.height / 2
  const x2 = to.x
  const y2 = to.y + to.height / 2
  const bend = Math.max(18, (x2 - x1) / 2)
  const [crops, clips] = [link.perS, link.clipsPerS].map((perS) => (perS > 0 ? `${rate(perS)}/s` : ''))
  const rateX = isSplit ? x2 - 3 : x1 + 3
  return (
    <g
      class="flow-link"
      data-cut={link.isConnected ? undefined : ''}
      data-announces={link.isAnnouncements ? '' : undefined}
    >
      <path
        ref={keep}
        d={`M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`}
        style={{ strokeWidth: `${1.5 + Math.min(3.5, Math.log10(1 + link.perS) * 2)}px` }}
      />
      {link.isConnected && (
        <text class="flow-rate" x={rateX} y={(isSplit ? y2 : y1) - 7} text-anchor={isSplit ? 'end' : 'start'}>
          {crops}
          {clips !== '' && (
            <tspan class="flow-clips" x={rateX} dy={crops === '' ? undefined : -12}>
              {clips}
            </tspan>
          )}
        </text>
      )}
    </g>
  )
}

function Node({
  node,
  box,
  now,
  open,
}: {
  readonly node: FlowNode
  readonly box: Box
  readonly now: number
  readonly open: (node: FlowNode) => void
}) {
  const since = waitsSince(node.books, now)
  const letters = Math.floor((box.width - 34) / 7.6)
  const isSmall = node.stage === 'camera'
  const third =
    since !== undefined
      ? `${pendingWords(node)} · ${shortly(now - since)}`
      : node.why !== undefined
        ? node.why
        : node.stage === 'bucket'
          ? ''
          : node.queues.length > 0
            ? 'nothing waits'
            : ''
  return (
    // biome-ignore lint/a11y/useSemanticElements: there is no button in SVG
    <g
      class="flow-node"
      data-tone={node.tone}
      data-stage={node.stage}
      transform={`translate(${box.x} ${box.y})`}
      role="button"
      tabindex={0}
      aria-label={wordsOf(node, now)}
      onClick={() => open(node)}
      onKeyDown={(event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return
        event.preventDefault()
        open(node)
      }}
    >
      <title>{wordsOf(node, now)}</title>
      <rect width={box.width} height={box.height} rx="10" />
      <circle class="flow-state" cx="14" cy={isSmall ? 20 : 19} r="4" />
      <text class="flow-title" x="25" y={isSmall ? 17.5 : 23.5}>
        {cut(node.title, letters)}
      </text>
      <text class="flow-sub" x={isSmall ? 25 : 12} y={isSmall ? 31 : 41}>
        {cut(node.sub, Math.floor((box.width - (isSmall ? 32 : 20)) / 6.2))}
      </text>
      {!isSmall && third !== '' && (
        <text class={`flow-note${since !== undefined ? ' flow-note-late' : ''}`} x="12" y={box.height - 11}>
          {cut(third, Math.floor((box.width - 20) / (since === undefined ? 6.1 : 6.9)))}
        </text>
      )}
    </g>
  )
}

export function wordsOf(node: FlowNode, now: number): string {
  const since = waitsSince(node.books, now)
  const parts = [
    `${node.title}, ${node.sub}`,
    node.why,
    since === undefined
      ? undefined
      : `${pendingOf(node, 'clips') > 0 ? pendingWords(node) : count(node.books.pending, 'message')} waiting, the oldest for ${duration(now - since)}`,
    node.perS > 0 ? `${rate(node.perS)} a second` : undefined,
    node.clipsPerS > 0 ? `${rate(node.clipsPerS)} clips a second` : undefined,
  ]
  return parts.flatMap((part) => (part ? [part.replace(/\.$/, '')] : [])).join('. ')
}

const cut = (text: string, letters: number) =>
  text.length <= letters ? text : `${text.slice(0, letters - 1)}…`

const shortly = (ms: number) =>
  duration(ms)
    .replace(/ seconds?/, ' s')
    .replace(/ minutes?/, ' min')
    .replace(/ hours?/, ' h')
