import type { Camera } from '../../api/cameras.ts'
import type { Keeper } from '../../api/keepers.ts'
import { count, number } from '../words.ts'

/**
 * The line as a graph, from what its programs report: who hands on to whom, how fast, and where something waits. Pure.
 *
 *     camera -> agent -> edge broker -> bridge -> cloud broker -> subscriber -> bucket
 *                                                                            \-> database
 */

export const STAGES = [
  'camera',
  'agent',
  'edge',
  'bridge',
  'broker',
  'subscriber',
  'bucket',
  'database',
] as const
export type Stage = (typeof STAGES)[number]
export type Tone = 'good' | 'late' | 'bad' | 'quiet'

/** Books of one or several queues. */
export interface Books {
  readonly accepted: number
  readonly forwarded: number
  readonly pending: number
  readonly dropped: Readonly<Record<string, number>>
  readonly bytes: number
  readonly oldestAtMs: number | null
}

/** Crops and clips take a lane each: nothing waits behind a clip but clips. */
export type QueueKind = 'crops' | 'clips'

export interface FlowQueue extends Books {
  readonly name: string
  readonly kind: QueueKind
  readonly perS: number
}

export interface FlowNode {
  readonly id: string
  readonly stage: Stage
  readonly title: string
  /** What it is, or where. */
  readonly sub: string
  /** undefined: it is shared, or not known. */
  readonly site: string | undefined
  readonly tone: Tone
  /** What is wrong, in a sentence. */
  readonly why: string | undefined
  readonly queues: readonly FlowQueue[]
  readonly books: Books
  /** Crops a second; of the database: announcements. */
  readonly perS: number
  readonly clipsPerS: number
  /** Who says so; a camera's agent, a bridge's broker. */
  readonly keeper: Keeper | undefined
  readonly camera: Camera | undefined
}

export interface FlowLink {
  readonly from: string
  readonly to: string
  readonly perS: number
  readonly clipsPerS: number
  readonly isConnected: boolean
  /** Announcements instead of crops. */
  readonly isAnnouncements: boolean
}

export interface Flow {
  readonly nodes: readonly FlowNode[]
  readonly links: readonly FlowLink[]
}

/** Below this age what is pending is on its way, not waiting. */
const WAITING_MS_MIN = 3000

export const NO_BOOKS: Books = {
  accepted: 0,
  forwarded: 0,
  pending: 0,
  dropped: {},
  bytes: 0,
  oldestAtMs: null,
}

export interface FlowInput {
  readonly keepers: readonly Keeper[]
  readonly cameras: readonly Camera[]
  /** Crops a second, by camera (`site/device/camera`), as its own counts say. */
  readonly cropsPerS: ReadonlyMap<string, number>
  /** The same of chunks of recordings. */
  readonly clipsPerS?: ReadonlyMap<string, number>
  readonly nowMs: number
}

export function flowOf({ keepers, cameras, cropsPerS, clipsPerS, nowMs }: FlowInput): Flow {
  const nodes: FlowNode[] = []
  const links: FlowLink[] = []
  const brokers = keepers.filter(({ program }) => program === 'broker')
  const shown = keepers.filter((keeper) => !isLongGone(keeper, keepers))
  const has = (keeper: Keeper) => shown.includes(keeper)

  for (const camera of cameras) {
    const id = `camera ${camera.site}/${camera.device}/${camera.camera}`
    const path = `${camera.site}/${camera.device}/${camera.camera}`
    const rates = { perS: cropsPerS.get(path) ?? 0, clipsPerS: clipsPerS?.get(path) ?? 0 }
    nodes.push({
      id,
      stage: 'camera',
      title: camera.camera,
      sub: camera.is,
      site: camera.site,
      tone: cameraTone(camera),
      why: camera.state?.why ?? undefined,
      queues: [],
      books: NO_BOOKS,
      ...rates,
      keeper: undefined,
      camera,
    })
    links.push({
      from: id,
      to: agentId(`${camera.site}/${camera.device}`),
      ...rates,
      isConnected: camera.is === 'live' || camera.is === 'paused' || camera.is === 'opening',
      isAnnouncements: false,
    })
  }

  // Agents that say nothing of themselves are known by their cameras.
  const agents = shown.filter(({ program }) => program === 'device')
  const silent = new Set(cameras.map(({ site, device }) => `${site}/${device}`))
  for (const { name } of agents) silent.delete(name)
  for (const name of silent) nodes.push(bare(agentId(name), 'agent', name, 'It does not report.'))

  for (const keeper of agents) {
    const node = keeperNode(keeper, 'agent', nowMs)
    nodes.push({ ...node, id: agentId(keeper.name), ...siteAndDevice(keeper.name) })
    for (const link of keeper.links) {
      const target = brokerOf(link, brokers, keeper)
      links.push({
        from: agentId(keeper.name),
        to: target ? brokerId(target) : placeholder(nodes, link.to),
        ...ratesOf(node),
        isConnected: link.connected && isThere(keeper),
        isAnnouncements: false,
      })
    }
  }

  for (const keeper of brokers) {
    if (!has(keeper)) continue
    const bridges = keeper.links.filter(({ name }) => name.startsWith('bridge/') && !isClips(name))
    const node = keeperNode(keeper, bridges.length > 0 ? 'edge' : 'broker', nowMs)
    const rest = node.queues.filter(({ name }) => !bridges.some((bridge) => isOfBridge(name, bridge.name)))
    const own = sum(rest)
    nodes.push({ ...node, ...standing(keeper, own, nowMs), queues: rest, books: own })
    for (const link of bridges) {
      const queues = node.queues.filter(({ name }) => isOfBridge(name, link.name))
      const id = `bridge ${keeper.keeper} ${link.name}`
      const rates = { perS: perSOf(queues, 'crops'), clipsPerS: perSOf(queues, 'clips') }
      // A lane of its own may be a connection of its own.
      const lane = keeper.links.find(({ name }) => name === `${link.name}/clips`)
      const cut = !link.connected
        ? `It does not reach ${link.to}.`
        : lane && !lane.connected
          ? `It does not reach ${lane.to} for clips.`
          : undefined
      const books = sum(queues)
      const waits = waitsSince(books, nowMs)
      nodes.push({
        id,
        stage: 'bridge',
        title: link.name.replace(/^bridge\//, ''),
        sub: 'bridge',
        site: undefined,
        tone: !isThere(keeper)
          ? node.tone
          : cut !== undefined
            ? 'bad'
            : waits === undefined
              ? 'good'
              : 'late',
        why: !isThere(keeper) ? node.why : cut,
        queues,
        books,
        ...rates,
        keeper,
        camera: undefined,
      })
      links.push({
        from: brokerId(keeper),
        to: id,
        ...rates,
        isConnected: isThere(keeper),
        isAnnouncements: false,
      })
      const target = brokerOf(link, brokers, keeper)
      links.push({
        from: id,
        to: target ? brokerId(target) : placeholder(nodes, link.to),
        ...rates,
        isConnected: link.connected && isThere(keeper),
        isAnnouncements: false,
      })
    }
  }

  const consoles = shown.filter(({ program }) => program === 'console')
  for (const keeper of shown.filter(({ program }) => program === 'subscriber')) {
    const node = keeperNode(keeper, 'subscriber', nowMs)
    const bucket = `bucket ${keeper.keeper}`
    nodes.push(node)
    for (const link of keeper.links) {
      const target = brokerOf(link, brokers, keeper)
      links.push({
        from: target ? brokerId(target) : placeholder(nodes, link.to),
        to: node.id,
        perS: (target && sessionPerS(target, link.clientId)) ?? node.perS,
        clipsPerS: (target && sessionPerS(target, clipsOf(link.clientId))) ?? node.clipsPerS,
        isConnected: link.connected && isThere(keeper),
        isAnnouncements: false,
      })
    }
    const said = Object.entries(keeper.checks).find(([name]) => /bucket|store|s3/i.test(name))?.[1]
    nodes.push({
      ...bare(bucket, 'bucket', 'Bucket', ''),
      sub: keeper.name,
      tone: !isThere(keeper) ? 'quiet' : node.tone,
      why: node.tone === 'good' ? undefined : said,
      ...ratesOf(node),
      keeper,
    })
    links.push({
      from: node.id,
      to: bucket,
      ...ratesOf(node),
      isConnected: isThere(keeper),
      isAnnouncements: false,
    })
    for (const one of consoles)
      links.push({
        from: node.id,
        to: keeperId(one),
        perS:
          total(Object.values(one.forwardedPerS), (perS) => perS) / Math.max(1, countOf(shown, 'subscriber')),
        clipsPerS: 0,
        isConnected: isThere(one) && isThere(keeper),
        isAnnouncements: true,
      })
  }
  for (const keeper of consoles)
    nodes.push({ ...keeperNode(keeper, 'database', nowMs), title: 'Database', sub: keeper.name })

  const known = new Set(nodes.map(({ id }) => id))
  return { nodes, links: merged(links.filter(({ from, to }) => known.has(from) && known.has(to))) }
}

/** What waits, the oldest first. */
export function waiting(
  flow: Flow,
  nowMs: number,
): readonly { readonly node: FlowNode; readonly sinceMs: number }[] {
  return flow.nodes
    .flatMap((node) => {
      const sinceMs = waitsSince(node.books, nowMs)
      return sinceMs === undefined ? [] : [{ node, sinceMs }]
    })
    .sort((a, b) => a.sinceMs - b.sinceMs)
}

/** Since when something waits; undefined where what is pending is only on its way. */
export function waitsSince({ pending, oldestAtMs }: Books, nowMs: number): number | undefined {
  return pending > 0 && oldestAtMs !== null && nowMs - oldestAtMs >= WAITING_MS_MIN ? oldestAtMs : undefined
}

export const droppedOf = ({ dropped }: Books) => total(Object.values(dropped), (count) => count)

/** What left a queue so was not lost: a newer one came in its place, or it was set aside, or people wanted it gone. */
const HARMLESS = new Set(['replaced', 'session discarded', 'forgotten', 'quarantined'])

export const lostOf = ({ dropped }: Books) =>
  total(Object.entries(dropped), ([reason, count]) => (HARMLESS.has(reason) ? 0 : count))

function keeperNode(keeper: Keeper, stage: Stage, nowMs: number): FlowNode {
  const queues = keeper.queues.map((books) => ({
    ...books,
    kind: kindOf(books.name, keeper),
    oldestAtMs: oldestOf(books, keeper),
    perS: keeper.forwardedPerS[books.name] ?? 0,
  }))
  const books = sum(queues)
  const { tone, why } = standing(keeper, books, nowMs)
  return {
    id: keeperId(keeper),
    stage,
    title: keeper.name,
    sub: stage === 'edge' ? 'edge broker' : keeper.program,
    site: undefined,
    tone,
    why,
    queues,
    books,
    perS: isThere(keeper) ? perSOf(queues, 'crops') : 0,
    clipsPerS: isThere(keeper) ? perSOf(queues, 'clips') : 0,
    keeper,
    camera: undefined,
  }
}

/**
 * By the clock of the console; null where it was on its way when the keeper spoke: reports are seconds apart, and what was
 * handed on since then has not grown older.
 */
function oldestOf({ oldestAtMs }: Pick<Books, 'oldestAtMs'>, { atMs, seenAtMs }: Keeper): number | null {
  if (oldestAtMs === null || atMs - oldestAtMs < WAITING_MS_MIN) return null
  return oldestAtMs + seenAtMs - atMs
}

function standing(keeper: Keeper, books: Books, nowMs: number): { tone: Tone; why: string | undefined } {
  if (keeper.ended) return { tone: 'quiet', why: 'It was stopped.' }
  if (keeper.silent) return { tone: 'bad', why: 'No reports are arriving.' }
  if (!keeper.ok) return { tone: 'bad', why: wrongOf(keeper) }
  // A bridge that is cut off is said of the bridge.
  const cut = keeper.links.find(({ name, connected }) => !connected && !name.startsWith('bridge/'))
  if (cut) return { tone: 'bad', why: `It does not reach ${cut.to}.` }
  return waitsSince(books, nowMs) === undefined
    ? { tone: 'good', why: undefined }
    : { tone: 'late', why: undefined }
}

/** What its own health says; the first of its checks that does not sound well. */
function wrongOf({ checks }: Keeper): string {
  const said = Object.entries(checks).find(([, text]) => !/^(ok|up|connected|fine|running)\b/i.test(text))
  return said ? `${said[0]}: ${said[1]}` : 'It is unhealthy.'
}

const isThere = ({ silent, ended }: Keeper) => !silent && !ended

/** Under the same name there is a newer one that runs: a broker whose folder was new has another id. */
const isLongGone = (keeper: Keeper, all: readonly Keeper[]) =>
  !isThere(keeper) &&
  all.some(
    (other) =>
      other !== keeper &&
      other.program === keeper.program &&
      other.name === keeper.name &&
      isThere(other) &&
      other.startedAtMs > keeper.startedAtMs,
  )

function cameraTone({ is }: Camera): Tone {
  if (is === 'live') return 'good'
  if (is === 'paused' || is === 'opening') return 'late'
  return is === 'down' || is === 'offline' ? 'bad' : 'quiet'
}

/** Whom a link leads to: the broker that has the session of its client id; else the only one it can be. */
function brokerOf(
  link: Keeper['links'][number],
  brokers: readonly Keeper[],
  from: Keeper,
): Keeper | undefined {
  const others = brokers.filter((broker) => broker !== from)
  const { clientId } = link
  if (clientId !== undefined) {
    const sessions = [`session/${clientId}`, `session/${clientId}-down`, `session/${clipsOf(clientId)}`]
    const found = others.filter(({ queues }) => queues.some(({ name }) => sessions.includes(name)))
    const there = found.find(isThere) ?? found[0]
    if (there) return there
  }
  const running = others.filter(isThere)
  const hasBridge = ({ links }: Keeper) => links.some(({ name }) => name.startsWith('bridge/'))
  // An agent is beside an edge broker, where there is one; everybody else goes to where no bridge leads away.
  const likely = running.filter((broker) => hasBridge(broker) === (from.program === 'device'))
  const candidates = likely.length > 0 ? likely : running
  return candidates.length === 1 ? candidates[0] : undefined
}

function placeholder(nodes: FlowNode[], to: string): string {
  const id = `unknown ${to}`
  if (!nodes.some((node) => node.id === id)) nodes.push(bare(id, 'broker', to, 'It does not report.'))
  return id
}

const bare = (id: string, stage: Stage, title: string, sub: string): FlowNode => ({
  id,
  stage,
  title,
  sub,
  site: undefined,
  tone: 'quiet',
  why: undefined,
  queues: [],
  books: NO_BOOKS,
  perS: 0,
  clipsPerS: 0,
  keeper: undefined,
  camera: undefined,
  ...(stage === 'agent' && siteAndDevice(title)),
})

const keeperId = ({ keeper }: Keeper) => `keeper ${keeper}`
const brokerId = keeperId
const agentId = (name: string) => `agent ${name}`

function siteAndDevice(name: string): { readonly site: string | undefined; readonly title: string } {
  const [site, device] = name.split('/')
  return device === undefined ? { site: undefined, title: name } : { site, title: device }
}

const isOfBridge = (queue: string, link: string) =>
  [link, link.replace(/^bridge\//, 'quarantine/')].some((name) => queue === name || queue === `${name}/clips`)

/** `bridge/cloud/clips`, `session/sightline-subscriber-clips`, `clips`. */
const isClips = (name: string) => /(?:^|[/-])clips$/.test(name)

/** An agent has its crops in memory, and on disk, in its outbox, what it recorded. */
const kindOf = (queue: string, { program }: Keeper): QueueKind =>
  isClips(queue) || (program === 'device' && queue === 'outbox') ? 'clips' : 'crops'

/** The client that takes the other lane of the same two. */
const clipsOf = <Id extends string | undefined>(clientId: Id) =>
  clientId === undefined || isClips(clientId) ? clientId : `${clientId}-clips`

const ratesOf = ({ perS, clipsPerS }: FlowNode) => ({ perS, clipsPerS })

const perSOf = (queues: readonly FlowQueue[], kind: QueueKind) =>
  total(
    queues.filter((queue) => queue.kind === kind),
    ({ perS }) => perS,
  )

/** `1204`, or where clips are among them `3 crops, 12 clips`. */
export function pendingWords(node: Pick<FlowNode, 'queues' | 'books'>): string {
  const [crops, clips] = [pendingOf(node, 'crops'), pendingOf(node, 'clips')]
  if (clips === 0) return number(node.books.pending)
  return [crops > 0 ? count(crops, 'crop') : '', count(clips, 'clip')].filter((it) => it !== '').join(', ')
}

/** What waits, by kind. */
export const pendingOf = ({ queues }: Pick<FlowNode, 'queues'>, kind: QueueKind) =>
  total(
    queues.filter((queue) => queue.kind === kind),
    ({ pending }) => pending,
  )

const sessionPerS = (broker: Keeper, clientId: string | undefined) =>
  clientId === undefined ? undefined : broker.forwardedPerS[`session/${clientId}`]

const countOf = (keepers: readonly Keeper[], program: Keeper['program']) =>
  keepers.filter((keeper) => keeper.program === program).length

function sum(queues: readonly Books[]): Books {
  const dropped: Record<string, number> = {}
  for (const queue of queues)
    for (const [reason, count] of Object.entries(queue.dropped))
      dropped[reason] = (dropped[reason] ?? 0) + count
  const oldest = queues.flatMap(({ oldestAtMs }) => (oldestAtMs === null ? [] : [oldestAtMs]))
  return {
    accepted: total(queues, ({ accepted }) => accepted),
    forwarded: total(queues, ({ forwarded }) => forwarded),
    pending: total(queues, ({ pending }) => pending),
    dropped,
    bytes: total(queues, ({ bytes }) => bytes),
    oldestAtMs: oldest.length === 0 ? null : Math.min(...oldest),
  }
}

const total = <Item>(items: readonly Item[], of: (item: Item) => number) =>
  items.reduce((sum, item) => sum + of(item), 0)

/** Two connections between the same two are drawn as one. */
function merged(links: readonly FlowLink[]): readonly FlowLink[] {
  const byEnds = new Map<string, FlowLink>()
  for (const link of links) {
    const key = `${link.from}\n${link.to}`
    const old = byEnds.get(key)
    byEnds.set(
      key,
      old
        ? {
            ...old,
            perS: Math.max(old.perS, link.perS),
            clipsPerS: Math.max(old.clipsPerS, link.clipsPerS),
            isConnected: old.isConnected || link.isConnected,
          }
        : link,
    )
  }
  return [...byEnds.values()]
}
