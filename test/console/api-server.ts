import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import type { Test } from 'tap'
import { Access } from '../../console/access/access.ts'
import { RIGHTS, type Right } from '../../console/access/may.ts'
import { consoleApi } from '../../console/api/server.ts'
import { type ConsoleConfig, consoleSchema } from '../../console/config.ts'
import type {
  CameraSeen,
  Context,
  DeviceSeen,
  Fleet,
  KeeperSeen,
  Line,
  Live,
  News,
  NewsItem,
  Picture,
} from '../../console/context.ts'
import { Database } from '../../console/database/database.ts'
import { DesiredBook } from '../../console/desired/desired.ts'
import { openNotices } from '../../console/notices/open.ts'
import { Rules } from '../../console/rules/rules.ts'
import { Documents } from '../../console/scenarios/documents.ts'
import { LiveScenarios } from '../../console/scenarios/scenarios.ts'
import { isActive, nextChange } from '../../console/scenarios/schedule.ts'
import type { FileUser } from '../../lib/access/users.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { failure } from '../../lib/errors.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { openLog } from '../../lib/log.ts'
import type { CameraState } from '../../wire/camera-state.ts'
import type { ClipMetadata } from '../../wire/clip.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import type { Desired } from '../../wire/desired.ts'
import { CLIP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { StoredClip, StoredCrop } from '../../wire/stored.ts'
import type { StreamChange } from '../../wire/stream.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { makeCrop } from '../kit/crops.ts'
import { cheapHash } from '../kit/passwords.ts'

/** The API with a real server, database, bucket and access; what comes over MQTT is said by the test. */

export const PASSWORD = 'correct horse battery'

/** Two sites, `north` and `south`. */
const USERS = [
  { name: 'ada', role: 'admin' },
  { name: 'otto', role: 'operator' },
  { name: 'anna', role: 'analyst' },
  { name: 'vera', role: 'viewer' },
  { name: 'nora', role: 'operator', sites: ['north'] },
  // Without recordings.
  { name: 'olga', role: 'operator', rights: ['live', 'export'] },
  { name: 'carl', role: 'viewer', cameras: ['south/pi/door'], rights: ['live', 'export'] },
] satisfies FileUser[]

export const NORTH: CameraAddress = { site: 'north', device: 'pi', camera: 'gate' }
export const SOUTH: CameraAddress = { site: 'south', device: 'pi', camera: 'door' }
export const YARD: CameraAddress = { site: 'south', device: 'pi', camera: 'yard' }

export interface Recorded {
  readonly metadata: ClipMetadata
  readonly payload: Buffer
}

export interface Published {
  readonly topic: string
  readonly desired: Desired
}

export interface ApiServer {
  readonly url: string
  readonly context: Context
  readonly database: Database
  readonly bucket: FolderBucket
  readonly access: Access
  readonly fleet: HeldFleet
  readonly live: HeldLive
  readonly news: HeldNews
  readonly line: HeldLine
  readonly desired: DesiredBook
  /** What devices were told, in order. */
  readonly published: readonly Published[]
  /** A token of the user's, with all that he may. */
  readonly tokens: Readonly<Record<string, string>>
  /** As that user. */
  get(path: string, user?: string, init?: RequestInit): Promise<Response>
  /** As ada, and the answer's JSON. */
  json<Answer>(path: string, user?: string): Promise<Answer>
  /** Puts chunks of recordings into bucket and database. */
  record(...clips: readonly Recorded[]): Promise<StoredClip[]>
  /** Puts crops into bucket and database. */
  store(...crops: readonly Partial<CropMetadata>[]): Promise<StoredCrop[]>
}

export async function apiServer(
  t: Test,
  settings: Record<string, unknown> = {},
  more: Parameters<typeof consoleApi>[2] = [],
): Promise<ApiServer> {
  const folder = t.testdir()
  const usersFile = join(folder, 'users.yaml')
  writeFileSync(usersFile, usersText(USERS.map((user) => ({ ...user, password: cheapHash(PASSWORD) }))), {
    mode: 0o600,
  })
  const config: ConsoleConfig = consoleSchema.parse({
    bucket: { type: 'folder', path: join(folder, 'bucket') },
    access: { usersFile },
    inbox: { folder: join(folder, 'inbox') },
    ...settings,
  })
  const log = openLog('test', 'silent')
  const stack = new AsyncDisposableStack()
  t.teardown(() => stack.disposeAsync())
  const database = stack.use(await Database.open({ type: 'sqlite', file: join(folder, 'console.sqlite') }))
  const bucket = stack.use(await FolderBucket.open({ path: join(folder, 'bucket') }))
  const access = stack.use(await Access.open({ config, database, log, pollIntervalMs: 50 }))
  const fleet = new HeldFleet()
  const live = new HeldLive()
  const news = new HeldNews()
  const line = new HeldLine()
  const original = new HeldLive()
  const documents = new Documents(database)
  const scenarios = stack.use(await LiveScenarios.open({ documents, log }))
  const published: Published[] = []
  const desired = stack.use(
    await DesiredBook.open({
      topicPrefix: 'sightline',
      database,
      documents,
      scenarios,
      fleet,
      publish: async (topic, payload) =>
        void published.push({ topic, desired: JSON.parse(payload.toString()) }),
      signer: undefined,
      events: {
        changed: ({ site, device }) => news.add({ is: 'device', site, device }),
        refused: () => {},
        dropped: () => {},
      },
      log,
    }),
  )
  desired.connected()
  const { notices } = stack.use(
    await openNotices({
      config,
      database,
      bucket,
      access,
      publish: async () => {},
      onNews: (item) => news.add(item),
      log,
      retry: { delayMsMin: 20, delayMsMax: 80 },
    }),
  )
  notices.start()
  const rules = stack.use(
    await Rules.open({
      database,
      scenarios,
      notices,
      fleet,
      schedule: { holds: isActive, changesAtMs: nextChange },
      log,
    }),
  )
  const context: Context = {
    config,
    log,
    database,
    bucket,
    access,
    fleet,
    live,
    original,
    news,
    line,
    documents,
    scenarios,
    desired,
    notices,
    rules,
  }
  const http = stack.use(
    await HttpServer.open({
      host: '127.0.0.1',
      port: 0,
      metrics: new Registry(),
      health: () => ({ ok: true, checks: {} }),
      ownLogin: async () => false,
      routes: (app) => consoleApi(app, context, more),
    }),
  )
  const tokens: Record<string, string> = {}
  for (const { name } of USERS) tokens[name] = await tokenOf(access, name)
  const get = (path: string, user = 'ada', init: RequestInit = {}) =>
    fetch(`${http.url}/api/v1${path}`, {
      ...init,
      headers: { authorization: `Bearer ${tokens[user]}`, ...init.headers },
    })
  return {
    url: `${http.url}/api/v1`,
    context,
    database,
    bucket,
    access,
    fleet,
    live,
    news,
    line,
    desired,
    published,
    tokens,
    get,
    json: async <Answer>(path: string, user?: string) => (await get(path, user)).json() as Promise<Answer>,
    record: async (...clips) => {
      const stored = clips.map(({ metadata, payload }) => storedClipOf(metadata, payload))
      for (const [n, { key }] of stored.entries())
        await bucket.create({
          key,
          body: (clips[n] as Recorded).payload,
          contentType: CLIP.mediaType,
          cacheControl: '',
        })
      await database.apply(stored, 'cloud')
      return stored
    },
    store: async (...crops) => {
      const stored = await Promise.all(
        crops.map(async (settings) => {
          const { metadata, payload } = makeCrop({ ...NORTH, ...settings })
          const entry = storedOf(metadata, payload)
          await bucket.create({ key: entry.key, body: payload, contentType: '', cacheControl: '' })
          return entry
        }),
      )
      await database.apply(stored, 'cloud')
      return stored
    },
  }
}

/** What somebody may, or only these. */
export async function tokenOf(access: Access, name: string, rights?: readonly Right[]): Promise<string> {
  const known = await access.people.find(name)
  if (!known) throw new Error(`no ${name}`)
  const { may } = await import('../../console/access/may.ts')
  const { secret } = await access.tokens.create(known.person, {
    name: 'test',
    rights: rights ?? RIGHTS.filter((right) => may(known.person, right)),
    expiresInMs: 3_600_000,
  })
  return secret
}

/** What a subscriber says of a crop. */
export function storedOf(
  { v: _version, landmarks: _points, ...metadata }: CropMetadata,
  payload: Buffer,
): StoredCrop {
  return {
    v: 1,
    is: 'stored',
    kind: 'crop',
    key: objectKey(metadata, metadata.capturedAtMs),
    filedAtMs: metadata.capturedAtMs,
    storedAtMs: metadata.capturedAtMs + 100,
    bytes: payload.byteLength,
    sha256: createHash('sha256').update(payload).digest('hex'),
    ...metadata,
  }
}

export function storedClipOf({ v: _version, ...metadata }: ClipMetadata, payload: Buffer): StoredClip {
  return {
    v: 1,
    is: 'stored',
    kind: 'clip',
    key: objectKey(metadata, metadata.capturedAtMs, CLIP),
    filedAtMs: metadata.capturedAtMs,
    storedAtMs: metadata.endMs + 100,
    bytes: payload.byteLength,
    sha256: createHash('sha256').update(payload).digest('hex'),
    ...metadata,
  }
}

export const stateOf = (address: CameraAddress, settings: Partial<CameraState> = {}): CameraState => ({
  v: 1,
  ...address,
  state: 'up',
  why: null,
  paused: false,
  threshold: 'auto',
  scoreMin: 0.5,
  rate: 'unlimited',
  crops: 3,
  lastCrop: null,
  ...settings,
})

export const cameraSeen = (address: CameraAddress, is: CameraSeen['is'] = 'live'): CameraSeen => ({
  ...address,
  state: stateOf(address),
  stateAtMs: 1_700_000_000_000,
  is,
})

class HeldFleet implements Fleet {
  keepers: KeeperSeen[] = []
  devices: DeviceSeen[] = [
    { site: 'north', device: 'pi', isOnline: true, changedAtMs: 1_700_000_000_000 },
    { site: 'south', device: 'pi', isOnline: false, changedAtMs: 1_700_000_000_000 },
    { site: 'south', device: 'spare', isOnline: true, changedAtMs: 1_700_000_000_000 },
  ]
  cameras: CameraSeen[] = [cameraSeen(SOUTH), cameraSeen(NORTH), cameraSeen(YARD, 'offline')]

  camera({ site, device, camera }: CameraAddress): CameraSeen | undefined {
    return this.cameras.find((it) => it.site === site && it.device === device && it.camera === camera)
  }
}

class HeldLive implements Live {
  readonly watchers = new Set<(picture: Picture) => void>()
  viewersMax = 100
  newest: Picture | undefined

  watch(_camera: CameraAddress, onPicture: (picture: Picture) => void): Disposable {
    if (this.watchers.size >= this.viewersMax) throw failure('TOO_MANY_VIEWERS', 'Too many are looking.')
    this.watchers.add(onPicture)
    if (this.newest) onPicture(this.newest)
    return { [Symbol.dispose]: () => void this.watchers.delete(onPicture) }
  }

  show(picture: Picture): void {
    this.newest = picture
    for (const watcher of this.watchers) watcher(picture)
  }

  async picture(): Promise<Picture | undefined> {
    return this.newest
  }
}

class HeldNews implements News {
  readonly #items: { readonly id: number; readonly item: NewsItem }[] = []
  readonly followers = new Set<(id: string, item: NewsItem) => void>()
  #last = 0
  itemsMax = 100_000

  get lastId(): string {
    return String(this.#last)
  }

  add(item: NewsItem): void {
    this.#last += 1
    this.#items.push({ id: this.#last, item })
    if (this.#items.length > this.itemsMax) this.#items.shift()
    for (const follower of this.followers) follower(String(this.#last), item)
  }

  follow(afterId: string | undefined, onItem: (id: string, item: NewsItem) => void) {
    const after = Number(afterId ?? this.#last)
    const isComplete = after >= (this.#items[0]?.id ?? this.#last + 1) - 1 && after <= this.#last
    for (const { id, item } of this.#items) if (isComplete && id > after) onItem(String(id), item)
    this.followers.add(onItem)
    return { isComplete, [Symbol.dispose]: () => void this.followers.delete(onItem) }
  }
}

class HeldLine implements Line {
  readonly connected = true
  readonly commands: string[] = []
  readonly forgotten: string[] = []
  answer: (address: CameraAddress) => CameraState = (address) => stateOf(address, { paused: true })

  async command({ site, device, camera }: CameraAddress, name: string, value: string): Promise<CameraState> {
    this.commands.push(`${site}/${device}/${camera} ${name} ${value}`)
    return this.answer({ site, device, camera })
  }

  readonly changes: { readonly camera: CameraAddress; readonly change: StreamChange }[] = []
  readonly kept: { readonly subscriber: string; readonly wanted: object }[] = []
  keeps = true

  async stream(camera: CameraAddress, change: StreamChange): Promise<CameraState | undefined> {
    this.changes.push({ camera, change })
    if (change.do === 'remove') return undefined
    return stateOf(camera, {
      state: 'waiting',
      stream: {
        owner: change.do === 'add' ? (change.owner ?? null) : null,
        active: change.do !== 'deactivate',
        takeOver: false,
        lastUsedMs: null,
        from: null,
        live: null,
      },
    })
  }

  async keep(subscriber: string, wanted: object): Promise<boolean> {
    this.kept.push({ subscriber, wanted })
    return this.keeps
  }

  async forget(selection: { kind: string; id?: string }, by: string) {
    this.forgotten.push(`${selection.id} by ${by}`)
    return [{ place: 'the bucket', count: 1 }]
  }
}
