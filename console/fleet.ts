import type { Log } from '../lib/log.ts'
import { type CameraState, cameraStateSchema } from '../wire/camera-state.ts'
import { type KeeperReport, keeperSchema, readKeeper } from '../wire/keepers.ts'
import { isName } from '../wire/names.ts'
import type { CameraAddress } from '../wire/topics.ts'
import type { CameraSeen, DeviceSeen, Fleet, KeeperSeen } from './context.ts'
import type { Database } from './database/database.ts'
import { EVERYTHING } from './database/scope.ts'

/**
 * What runs, as it last said of itself: programs, devices, cameras. A topic says whose message it is, not what stands in it:
 * who may publish there is the broker's to judge. The last word of each is kept in the database, for the next start.
 */

const KEEPERS_MAX = 5_000
/** Of all reports together: a report of one program may have 64 KB. */
const KEEPERS_BYTES_MAX = 64 * 1024 * 1024
const CAMERAS_MAX = 20_000
/** One device must not take the room of others. */
const CAMERAS_OF_DEVICE_MAX = 500
const JSON_BYTES_MAX = 64 * 1024
/** Silent is who has missed so many reports. */
const MISSED_MAX = 3
const GRACE_MS = 2_000
const LOOK_INTERVAL_MS = 1_000
const SAVE_INTERVAL_MS = 5_000

export interface FleetEvents {
  readonly keeper: (keeper: KeeperSeen, before: KeeperSeen | undefined) => void
  readonly camera: (camera: CameraSeen, before: CameraSeen | undefined) => void
  readonly device: (device: DeviceSeen, before: DeviceSeen | undefined) => void
  /** Its report was taken away. */
  readonly keeperGone: (keeper: KeeperSeen) => void
}

interface Camera extends CameraAddress {
  state: CameraState | undefined
  stateAtMs: number | undefined
  /** As it was last told of. */
  told: CameraSeen | undefined
}

export interface FleetOptions {
  readonly topicPrefix: string
  readonly database: Database
  readonly events: FleetEvents
  readonly log: Log
}

export class LiveFleet implements Fleet, AsyncDisposable {
  readonly #options: FleetOptions
  readonly #keepers = new Map<string, KeeperSeen>()
  readonly #keeperBytes = new Map<string, number>()
  #keepersBytes = 0
  readonly #camerasOf = new Map<string, number>()
  readonly #devices = new Map<string, DeviceSeen>()
  readonly #cameras = new Map<string, Camera>()
  /** What the database does not have yet. */
  readonly #unsaved = { keepers: new Set<string>(), cameras: new Set<string>(), devices: new Set<string>() }
  readonly #timers: NodeJS.Timeout[] = []
  #saving: Promise<void> = Promise.resolve()

  private constructor(options: FleetOptions) {
    this.#options = options
  }

  static async open(options: FleetOptions): Promise<LiveFleet> {
    const fleet = new LiveFleet(options)
    await fleet.#load()
    fleet.#timers.push(
      setInterval(() => fleet.#look(), LOOK_INTERVAL_MS).unref(),
      setInterval(() => fleet.#save(), SAVE_INTERVAL_MS).unref(),
    )
    return fleet
  }

  get keepers(): readonly KeeperSeen[] {
    return [...this.#keepers.values()]
  }

  get devices(): readonly DeviceSeen[] {
    return [...this.#devices.values()]
  }

  get cameras(): readonly CameraSeen[] {
    return [...this.#cameras.values()].map((camera) => this.#seen(camera))
  }

  camera(address: CameraAddress): CameraSeen | undefined {
    const camera = this.#cameras.get(pathOf(address))
    return camera && this.#seen(camera)
  }

  /** A camera has a detection: it is one, whatever it says of itself. */
  detected(address: CameraAddress): void {
    if (!this.#cameras.has(pathOf(address)) && this.#hasRoomFor(address))
      this.#changed(this.#cameraAt(address))
  }

  /** @returns false where the message is none of a fleet's */
  take(topic: string, payload: Buffer): boolean {
    const { topicPrefix } = this.#options
    if (!topic.startsWith(`${topicPrefix}/`) || payload.length > JSON_BYTES_MAX) return false
    const levels = topic.slice(topicPrefix.length + 1).split('/')
    const [site = '', device = '', camera = '', what] = levels
    if (levels.length === 2 && site === 'keepers') this.#takeKeeper(device, payload)
    else if (!isName(site) || !isName(device)) return false
    else if (levels.length === 3 && camera === 'status') this.#takeStatus(site, device, payload)
    else if (levels.length === 4 && what === 'state' && isName(camera))
      this.#takeState({ site, device, camera }, payload)
    else return false
    return true
  }

  #takeKeeper(name: string, payload: Buffer): void {
    const before = this.#keepers.get(name)
    // Whoever takes a report away has it forgotten.
    if (payload.length === 0) {
      if (!before) return
      this.#keepers.delete(name)
      this.#setKeeperBytes(name, 0)
      this.#unsaved.keepers.add(name)
      this.#options.events.keeperGone(before)
      return
    }
    const report = readKeeper(payload)
    const bytes = this.#keepersBytes - (this.#keeperBytes.get(name) ?? 0) + payload.length
    if (
      report?.keeper !== name ||
      (!before && this.#keepers.size >= KEEPERS_MAX) ||
      bytes > KEEPERS_BYTES_MAX
    )
      return
    this.#setKeeperBytes(name, payload.length)
    const keeper = {
      report,
      seenAtMs: Date.now(),
      isSilent: false,
      forwardedPerS: rates(before?.report, report),
    }
    this.#keepers.set(name, keeper)
    this.#unsaved.keepers.add(name)
    this.#options.events.keeper(keeper, before)
  }

  #setKeeperBytes(name: string, bytes: number): void {
    this.#keepersBytes += bytes - (this.#keeperBytes.get(name) ?? 0)
    if (bytes === 0) this.#keeperBytes.delete(name)
    else this.#keeperBytes.set(name, bytes)
  }

  #takeStatus(site: string, device: string, payload: Buffer): void {
    const path = `${site}/${device}`
    const before = this.#devices.get(path)
    const state = jsonOf(payload)?.state
    if ((state !== 'online' && state !== 'offline') || (!before && this.#devices.size >= CAMERAS_MAX)) return
    const isOnline = state === 'online'
    if (before?.isOnline === isOnline) return
    const seen = { site, device, isOnline, changedAtMs: Date.now() }
    this.#devices.set(path, seen)
    this.#unsaved.devices.add(path)
    this.#options.events.device(seen, before)
    for (const camera of this.#cameras.values())
      if (camera.site === site && camera.device === device) this.#changed(camera)
  }

  #takeState(address: CameraAddress, payload: Buffer): void {
    // The device has taken it away: it has no such camera any more, but for what was seen and recorded.
    if (payload.length === 0) {
      const camera = this.#cameras.get(pathOf(address))
      if (!camera?.state) return
      camera.state = undefined
      camera.stateAtMs = undefined
      this.#unsaved.cameras.add(pathOf(address))
      this.#changed(camera)
      return
    }
    const state = cameraStateSchema.safeParse(jsonOf(payload)).data
    if (!state || pathOf(state) !== pathOf(address)) return
    if (!this.#cameras.has(pathOf(address)) && !this.#hasRoomFor(address)) return
    const camera = this.#cameraAt(address)
    camera.state = state
    camera.stateAtMs = Date.now()
    this.#unsaved.cameras.add(pathOf(address))
    this.#changed(camera)
  }

  #hasRoomFor({ site, device }: CameraAddress): boolean {
    return (
      this.#cameras.size < CAMERAS_MAX &&
      (this.#camerasOf.get(`${site}/${device}`) ?? 0) < CAMERAS_OF_DEVICE_MAX
    )
  }

  #cameraAt({ site, device, camera }: CameraAddress): Camera {
    const path = `${site}/${device}/${camera}`
    const known = this.#cameras.get(path)
    if (known) return known
    const made = { site, device, camera, state: undefined, stateAtMs: undefined, told: undefined }
    this.#cameras.set(path, made)
    this.#camerasOf.set(`${site}/${device}`, (this.#camerasOf.get(`${site}/${device}`) ?? 0) + 1)
    return made
  }

  #changed(camera: Camera): void {
    const before = camera.told
    const now = this.#seen(camera)
    camera.told = now
    this.#options.events.camera(now, before)
  }

  #seen({ site, device, camera, state, stateAtMs }: Camera): CameraSeen {
    const isOffline = this.#devices.get(`${site}/${device}`)?.isOnline === false
    const works = state?.state === 'up' ? (state.paused ? 'paused' : 'live') : state?.state
    return { site, device, camera, state, stateAtMs, is: isOffline ? 'offline' : (works ?? 'unknown') }
  }

  /** Who should have said something by now, and has not. */
  #look(): void {
    const now = Date.now()
    for (const [name, keeper] of this.#keepers) {
      const { report, seenAtMs, isSilent } = keeper
      if (isSilent || report.ended || now - seenAtMs < MISSED_MAX * report.everyMs + GRACE_MS) continue
      const silent = { ...keeper, isSilent: true, forwardedPerS: {} }
      this.#keepers.set(name, silent)
      this.#options.events.keeper(silent, keeper)
    }
  }

  async #load(): Promise<void> {
    const { database } = this.#options
    for (const { site, device, camera } of await database.cameras(EVERYTHING))
      if (this.#hasRoomFor({ site, device, camera })) this.#cameraAt({ site, device, camera })
    for (const row of await database.read.selectFrom('keepers').selectAll().execute()) {
      const report = keeperSchema.safeParse(jsonOf(row.report_json)).data
      if (!report) continue
      this.#setKeeperBytes(row.keeper, row.report_json.length)
      this.#keepers.set(row.keeper, {
        report,
        seenAtMs: row.received_at_ms,
        isSilent: false,
        forwardedPerS: {},
      })
    }
    for (const { site, device, received_at_ms, status_json } of await database.read
      .selectFrom('device_statuses')
      .selectAll()
      .execute())
      this.#devices.set(`${site}/${device}`, {
        site,
        device,
        isOnline: jsonOf(status_json)?.state === 'online',
        changedAtMs: received_at_ms,
      })
    for (const row of await database.read
      .selectFrom('camera_states')
      .innerJoin('cameras', 'cameras.id', 'camera_states.camera_id')
      .select(['site', 'device', 'camera', 'state_json', 'received_at_ms'])
      .execute()) {
      if (!this.#cameras.has(pathOf(row))) continue
      const camera = this.#cameraAt(row)
      camera.state = cameraStateSchema.safeParse(jsonOf(row.state_json)).data
      camera.stateAtMs = row.received_at_ms
    }
    for (const camera of this.#cameras.values()) camera.told = this.#seen(camera)
  }

  #save(): Promise<void> {
    this.#saving = this.#saving.then(() => this.#saveNow())
    return this.#saving
  }

  async #saveNow(): Promise<void> {
    const { database, log } = this.#options
    const { keepers, cameras, devices } = this.#unsaved
    const due = { keepers: [...keepers], cameras: [...cameras], devices: [...devices] }
    for (const names of [keepers, cameras, devices]) names.clear()
    if (due.keepers.length + due.cameras.length + due.devices.length === 0) return
    try {
      await database.write.transaction().execute(async (transaction) => {
        for (const name of due.keepers) {
          const keeper = this.#keepers.get(name)
          if (!keeper) {
            await transaction.deleteFrom('keepers').where('keeper', '=', name).execute()
            continue
          }
          const row = {
            at_ms: keeper.report.atMs,
            received_at_ms: keeper.seenAtMs,
            report_json: JSON.stringify(keeper.report),
          }
          await transaction
            .insertInto('keepers')
            .values({ keeper: name, ...row })
            .onConflict((it) => it.column('keeper').doUpdateSet(row))
            .execute()
        }
        for (const path of due.devices) {
          const seen = this.#devices.get(path)
          if (!seen) continue
          const row = {
            received_at_ms: seen.changedAtMs,
            status_json: JSON.stringify({ state: seen.isOnline ? 'online' : 'offline' }),
          }
          await transaction
            .insertInto('device_statuses')
            .values({ site: seen.site, device: seen.device, ...row })
            .onConflict((it) => it.columns(['site', 'device']).doUpdateSet(row))
            .execute()
        }
        for (const path of due.cameras) {
          const camera = this.#cameras.get(path)
          if (!camera) continue
          const { site, device, camera: name, stateAtMs = 0 } = camera
          if (!camera.state) {
            await transaction
              .deleteFrom('camera_states')
              .where(({ eb, selectFrom }) =>
                eb(
                  'camera_id',
                  'in',
                  selectFrom('cameras')
                    .select('id')
                    .where('site', '=', site)
                    .where('device', '=', device)
                    .where('camera', '=', name),
                ),
              )
              .execute()
            continue
          }
          await transaction
            .insertInto('cameras')
            .values({ site, device, camera: name, first_seen_ms: stateAtMs, last_seen_ms: stateAtMs })
            .onConflict((it) => it.columns(['site', 'device', 'camera']).doNothing())
            .execute()
          const { id } = await transaction
            .selectFrom('cameras')
            .select('id')
            .where('site', '=', site)
            .where('device', '=', device)
            .where('camera', '=', name)
            .executeTakeFirstOrThrow()
          const row = { received_at_ms: stateAtMs, state_json: JSON.stringify(camera.state) }
          await transaction
            .insertInto('camera_states')
            .values({ camera_id: id, ...row })
            .onConflict((it) => it.column('camera_id').doUpdateSet(row))
            .execute()
        }
      })
    } catch (error) {
      // What is kept here is what each says again soon: the next save has it.
      for (const [kind, names] of Object.entries(due))
        for (const name of names) this.#unsaved[kind as keyof typeof due].add(name)
      log.debug({ error: String(error) }, 'what runs could not be saved yet')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    await this.#save()
  }
}

const pathOf = ({ site, device, camera }: CameraAddress) => `${site}/${device}/${camera}`

function jsonOf(payload: Buffer | string): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(payload.toString())
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** Of each queue, what it handed on a second between two reports. */
function rates(before: KeeperReport | undefined, now: KeeperReport): Record<string, number> {
  const seconds = before && before.startedAtMs === now.startedAtMs ? (now.atMs - before.atMs) / 1000 : 0
  if (seconds < 0.5) return {}
  const forwarded = new Map(before?.queues.map((queue) => [queue.name, queue.forwarded]))
  return Object.fromEntries(
    now.queues.map((queue) => {
      const more = queue.forwarded - (forwarded.get(queue.name) ?? queue.forwarded)
      return [queue.name, Math.max(0, more / seconds)]
    }),
  )
}
