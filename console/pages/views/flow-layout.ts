import { type Flow, type FlowNode, STAGES, type Stage } from './flow-graph.ts'

/** Where each node of the line stands: a column a stage, sites below each other, the shared ones amid what leads to them. Pure. */

export interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export interface Group extends Box {
  readonly title: string
}

export interface Layout {
  readonly width: number
  readonly height: number
  readonly boxes: ReadonlyMap<string, Box>
  readonly groups: readonly Group[]
}

const WIDTHS: Readonly<Record<Stage, number>> = {
  camera: 104,
  agent: 118,
  edge: 124,
  bridge: 122,
  broker: 116,
  subscriber: 116,
  bucket: 116,
  database: 116,
}
const HEIGHTS: Readonly<Record<Stage, number>> = {
  camera: 40,
  agent: 72,
  edge: 72,
  bridge: 72,
  broker: 72,
  subscriber: 72,
  bucket: 64,
  database: 72,
}
const GAP_X = 36
const GAP_Y = 12
const GROUP_PAD = 14
const GROUP_HEAD = 24
const GROUP_GAP = 22
const HEIGHT_MIN = 300

/** Bucket and database are the same column. */
const columnOf = (stage: Stage) => (stage === 'database' ? 'bucket' : stage)

export function layOut({ nodes, links }: Flow): Layout {
  const used = STAGES.filter((stage) => stage !== 'database').filter((stage) =>
    nodes.some((node) => columnOf(node.stage) === stage),
  )
  const lefts = new Map<Stage, number>()
  let right = GROUP_PAD
  for (const stage of used) {
    lefts.set(stage, right)
    right += WIDTHS[stage] + GAP_X
  }
  const boxes = new Map<string, Box>()
  const put = (node: FlowNode, centre: number) => {
    const height = HEIGHTS[node.stage]
    const x = lefts.get(columnOf(node.stage)) ?? 0
    boxes.set(node.id, { x, y: centre - height / 2, width: WIDTHS[node.stage], height })
  }

  // Sites: cameras beside their agent.
  const groups: Group[] = []
  let y = 0
  const agents = nodes.filter(({ stage }) => stage === 'agent')
  const sites = [...new Set(agents.map(({ site }) => site ?? ''))].sort()
  for (const site of sites) {
    const top = y
    y += GROUP_HEAD
    for (const agent of agents.filter((node) => (node.site ?? '') === site).sort(byTitle)) {
      const cameras = links
        .filter(({ to }) => to === agent.id)
        .flatMap(({ from }) => nodes.find(({ id }) => id === from) ?? [])
        .sort(byTitle)
      const camerasHeight = cameras.length * (HEIGHTS.camera + 8) - 8
      const height = Math.max(HEIGHTS.agent, camerasHeight)
      cameras.forEach((camera, index) => {
        put(camera, y + (height - camerasHeight) / 2 + index * (HEIGHTS.camera + 8) + HEIGHTS.camera / 2)
      })
      put(agent, y + height / 2)
      y += height + GAP_Y
    }
    const lastInside = lefts.get('agent') ?? 0
    groups.push({
      title: site,
      x: 2,
      y: top,
      width: lastInside + WIDTHS.agent + GROUP_PAD - 2,
      height: y - GAP_Y + GROUP_PAD - top,
    })
    y += GROUP_PAD + GROUP_GAP - GAP_Y
  }
  const height = Math.max(HEIGHT_MIN, y - GROUP_GAP)

  // The rest: amid what leads to it, pushed apart where they would overlap.
  for (const stage of used) {
    if (stage === 'camera' || stage === 'agent') continue
    const column = nodes.filter((node) => columnOf(node.stage) === stage)
    const wanted = column
      .map((node) => ({ node, at: wish(node, links, boxes) ?? height / 2 }))
      .sort((a, b) => a.at - b.at || order(a.node) - order(b.node))
    for (const { nodes: together, middle } of pushedApart(wanted)) {
      let top = middle - tallness(together) / 2
      for (const node of together) {
        put(node, top + HEIGHTS[node.stage] / 2)
        top += HEIGHTS[node.stage] + GAP_Y * 2
      }
    }
  }
  // A short site beside a long line stands in its middle.
  const top = Math.min(...[...boxes.values(), ...groups].map((box) => box.y), 0)
  const bottom = Math.max(...[...boxes.values(), ...groups].map((box) => box.y + box.height), 0)
  const shift = 8 - top
  return {
    width: right - GAP_X + GROUP_PAD,
    height: bottom - top + 16,
    boxes: new Map([...boxes].map(([id, box]) => [id, { ...box, y: box.y + shift }])),
    groups: groups.map((group) => ({ ...group, y: group.y + shift })),
  }
}

interface Cluster {
  readonly nodes: readonly FlowNode[]
  readonly middle: number
}

/** Those that would overlap become one cluster, around the mean of what they wish for. */
function pushedApart(
  wanted: readonly { readonly node: FlowNode; readonly at: number }[],
): readonly Cluster[] {
  const clusters: Cluster[] = []
  for (const { node, at } of wanted) {
    let cluster: Cluster = { nodes: [node], middle: at }
    for (let last = clusters.at(-1); last && overlap(last, cluster); last = clusters.at(-1)) {
      clusters.pop()
      const [a, b] = [last.nodes.length, cluster.nodes.length]
      cluster = {
        nodes: [...last.nodes, ...cluster.nodes],
        middle: (last.middle * a + cluster.middle * b) / (a + b),
      }
    }
    clusters.push(cluster)
  }
  return clusters
}

const overlap = (a: Cluster, b: Cluster) =>
  a.middle + tallness(a.nodes) / 2 + GAP_Y * 2 > b.middle - tallness(b.nodes) / 2

const tallness = (nodes: readonly FlowNode[]) =>
  nodes.reduce((sum, { stage }) => sum + HEIGHTS[stage] + GAP_Y * 2, -GAP_Y * 2)

/** The middle of those that lead to it. */
function wish(node: FlowNode, links: Flow['links'], boxes: ReadonlyMap<string, Box>): number | undefined {
  const middles = links
    .filter(({ to }) => to === node.id)
    .flatMap(({ from }) => {
      const box = boxes.get(from)
      return box ? [box.y + box.height / 2] : []
    })
  return middles.length === 0 ? undefined : mean(middles)
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
const order = ({ stage }: FlowNode) => STAGES.indexOf(stage)
const byTitle = (a: FlowNode, b: FlowNode) => a.title.localeCompare(b.title)
