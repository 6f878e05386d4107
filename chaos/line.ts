import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  bridgeConfig,
  brokerConfig,
  missing,
  Program,
  subscriberConfig,
  type Test,
  temporaryFolder,
} from '../test/kit/programs.ts'
import { TcpProxy } from '../test/kit/proxy.ts'
import { until } from '../test/kit/wait.ts'
import { cropFilter, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { FolderBucketView, type LineBucket } from './line-bucket.ts'
import { checksum, Publisher, type PublisherOptions } from './publisher.ts'

/** The whole line as real processes, with a link that can be made bad, and the proof that it has lost nothing. */

const FILTER = cropFilter(TOPIC_PREFIX_DEFAULT)
const CLIP_FILTER = `${TOPIC_PREFIX_DEFAULT}/+/+/+/clip`
const QUARANTINE = 'the quarantine'
const SETTLE_MS_MAX = 5 * 60_000
const LOOK_INTERVAL_MS = 500
const READS_MAX = 16
const WELL_MS_MAX = 15_000

export const KEEPERS = ['edge', 'cloud', 'subscriber'] as const
export type Keeper = (typeof KEEPERS)[number]

/** Settings beside those of the line itself. */
export interface LineOptions {
  /** Default: a folder. */
  readonly bucket?: LineBucket
  /** Where keepers have their stores; default: a temporary folder for each. */
  readonly stores?: Partial<Readonly<Record<Keeper, string>>>
  readonly edge?: Readonly<Record<string, unknown>>
  readonly cloud?: Readonly<Record<string, unknown>>
  readonly subscriber?: Readonly<Record<string, unknown>>
  readonly bridge?: Readonly<Record<string, unknown>>
  /** `bytesMax` in each `latencyMs` is what goes through. */
  readonly link?: { readonly latencyMs: number; readonly bytesMax: number }
}

/** What was published, by one or by several. */
export type Published = Pick<Publisher, 'acknowledged' | 'count'>

export class Line implements AsyncDisposable {
  readonly keepers: Readonly<Record<Keeper, Program>>
  /** Between the edge broker and the cloud broker. */
  readonly link: TcpProxy
  readonly bucket: LineBucket
  readonly #stack: AsyncDisposableStack

  private constructor(
    keepers: Readonly<Record<Keeper, Program>>,
    link: TcpProxy,
    bucket: LineBucket,
    stack: AsyncDisposableStack,
  ) {
    this.keepers = keepers
    this.link = link
    this.bucket = bucket
    this.#stack = stack
  }

  static async open({
    bucket: given,
    stores = {},
    edge: edgeSettings,
    cloud: cloudSettings,
    subscriber: subscriberSettings,
    bridge,
    link: pace,
  }: LineOptions = {}): Promise<Line> {
    await using stack = new AsyncDisposableStack()
    const own: Test = { after: (handler) => void stack.defer(handler) }
    const bucket = given ?? new FolderBucketView(temporaryFolder(own))
    const folder = (keeper: Keeper) => ({ folder: stores[keeper] ?? temporaryFolder(own) })
    const cloud = await Program.start(
      own,
      'broker',
      brokerConfig(own, {
        name: 'cloud',
        store: folder('cloud'),
        mustBeKept: [FILTER],
        queues: [
          { clientId: 'sightline-subscriber', topics: [FILTER] },
          { clientId: 'sightline-subscriber-clips', topics: [CLIP_FILTER] },
        ],
        ...cloudSettings,
      }),
    )
    const link = stack.use(await TcpProxy.open({ host: '127.0.0.1', port: cloud.port, mqtt: true, ...pace }))
    const [edge, subscriber] = (await Promise.all([
      Program.start(
        own,
        'broker',
        brokerConfig(own, {
          name: 'edge',
          store: folder('edge'),
          mustBeKept: [FILTER],
          bridges: [
            bridgeConfig(link.url, {
              topics: [{ filter: FILTER }, { filter: CLIP_FILTER }],
              acknowledgeTimeout: '4s',
              ...bridge,
            }),
          ],
          ...edgeSettings,
        }),
      ),
      Program.start(
        own,
        'subscriber',
        subscriberConfig(own, cloud.url, {
          bucket: bucket.config,
          inbox: folder('subscriber'),
          ...subscriberSettings,
        }),
      ),
    ])) as [Program, Program]
    return new Line({ edge, cloud, subscriber }, link, bucket, stack.move())
  }

  publisher(options: Omit<PublisherOptions, 'url'>): Publisher {
    return new Publisher({ url: this.keepers.edge.url, ...options })
  }

  /**
   * Every crop that was acknowledged is in the bucket, whole and once, nothing else is; every keeper is well, has let go
   * of all, and its books balance.
   * @param others there are crops of others too, which are not looked at
   * @returns what is not so, in sentences; none where all is well
   */
  async faults(
    { acknowledged, count }: Published,
    { isOverloaded = false, others = false }: { isOverloaded?: boolean; others?: boolean } = {},
  ): Promise<string[]> {
    const faults: string[] = []
    const fault = (text: string) => void (faults.length < 20 && faults.push(text))
    if (acknowledged.size < count) fault(`only ${acknowledged.size} of ${count} crops were acknowledged`)
    let keys: string[] = []
    await slowly('all are stored', async () => {
      keys = (await this.bucket.keys()).filter((key) => !others || acknowledged.has(basename(key, '.jpg')))
      return keys.length >= acknowledged.size
    }).catch(() => fault(`only ${keys.length} of ${acknowledged.size} acknowledged crops are in the bucket`))
    await slowly('all is let go', async () =>
      (await this.#books()).every(
        ({ name, books }) => books.pending === 0 || (others && name === QUARANTINE),
      ),
    ).catch(() => fault('a keeper does not let go of what it has handed on'))
    const seen = new Map<string, string>()
    const left = (await this.bucket.keys())[Symbol.iterator]()
    const read = async () => {
      for (const key of left) {
        const id = basename(key, '.jpg')
        if (others && !acknowledged.has(id)) continue
        if (seen.has(id)) fault(`${id} is stored twice: ${seen.get(id)}, ${key}`)
        seen.set(id, key)
        const expected = acknowledged.get(id)
        if (expected === undefined) fault(`${id} was stored and never acknowledged`)
        else if (checksum(await this.bucket.read(key)) !== expected) fault(`${id} was changed on its way`)
      }
    }
    await Promise.all(Array.from({ length: READS_MAX }, read))
    for (const id of acknowledged.keys()) if (!seen.has(id)) fault(`${id} was acknowledged and is lost`)
    for (const { name, books } of await this.#books()) {
      if (missing(books) !== 0) fault(`the books of ${name} do not balance: ${JSON.stringify(books)}`)
      if (Object.keys(books.dropped).length > 0 && !isOverloaded)
        fault(`${name} dropped: ${JSON.stringify(books.dropped)}`)
    }
    for (const name of KEEPERS) {
      // A moment, for who has just become so.
      let { ok, checks } = await this.keepers[name].health()
      await slowly(
        'it is well',
        async () => {
          ;({ ok, checks } = await this.keepers[name].health())
          return ok
        },
        WELL_MS_MAX,
      ).catch(() => {})
      if (!ok) fault(`the ${name} is not well: ${JSON.stringify(checks)}`)
    }
    return faults
  }

  async #books() {
    const { edge, cloud, subscriber } = this.keepers
    return [
      { name: 'the edge broker', books: await edge.books('bridge/cloud') },
      { name: 'the cloud broker', books: await cloud.books('session/sightline-subscriber') },
      { name: 'the inbox', books: await subscriber.books('inbox') },
      { name: QUARANTINE, books: await subscriber.books('quarantine') },
    ]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]()
  }
}

/** Looking costs: a bucket of 100,000 files is long to list. */
const slowly = (what: string, test: () => boolean | Promise<boolean>, msMax = SETTLE_MS_MAX) =>
  until(
    what,
    async () => {
      if (await test()) return true
      await sleep(LOOK_INTERVAL_MS)
      return false
    },
    msMax,
  )
