import type { Transaction } from 'kysely'
import type { Bucket } from '../lib/buckets/bucket.ts'
import type { Log } from '../lib/log.ts'
import type { CameraState } from '../wire/camera-state.ts'
import type { CommandName } from '../wire/commands.ts'
import type { Forgotten, Selection } from '../wire/forget.ts'
import type { KeepMessage } from '../wire/keep.ts'
import type { KeeperReport } from '../wire/keepers.ts'
import type { StreamChange } from '../wire/stream.ts'
import type { CameraAddress } from '../wire/topics.ts'
import type { Access } from './access/access.ts'
import type { ConsoleConfig } from './config.ts'
import type { Database } from './database/database.ts'
import type { Detection } from './database/detection.ts'
import type { Tables } from './database/tables.ts'
import type { DesiredBook } from './desired/desired.ts'
import type { Notices } from './notices/notices.ts'
import type { NewNotice } from './rules/fact.ts'
import type { Rules } from './rules/rules.ts'
import type { Scenario } from './scenarios/document.ts'
import type { Documents } from './scenarios/documents.ts'
import type { LiveScenarios } from './scenarios/scenarios.ts'

/** The parts that routes ask; each is opened once, in main.ts. */
export interface Context {
  readonly config: ConsoleConfig
  readonly log: Log
  readonly database: Database
  /** Read, never written. */
  readonly bucket: Bucket
  readonly access: Access
  readonly fleet: Fleet
  readonly live: Live
  /** The same without the cameras' effects. */
  readonly original: Live
  readonly news: News
  readonly line: Line
  readonly documents: Documents
  readonly scenarios: LiveScenarios
  /** Absent: devices are told nothing (`desired.enabled`). */
  readonly desired: DesiredBook | undefined
  readonly notices: Notices
  readonly rules: Rules
}

/** What runs, as it last said of itself. In memory, and in the database for the next start. */
export interface Fleet {
  readonly keepers: readonly KeeperSeen[]
  readonly devices: readonly DeviceSeen[]
  readonly cameras: readonly CameraSeen[]
  camera(address: CameraAddress): CameraSeen | undefined
}

export interface KeeperSeen {
  readonly report: KeeperReport
  /** By this program's clock. */
  readonly seenAtMs: number
  /** It has not said anything for three of its intervals. */
  readonly isSilent: boolean
  /** A second of what it forwarded, by queue name, over its last two reports. */
  readonly forwardedPerS: Readonly<Record<string, number>>
}

export interface DeviceSeen {
  readonly site: string
  readonly device: string
  readonly isOnline: boolean
  readonly changedAtMs: number
}

export interface CameraSeen extends CameraAddress {
  /** undefined: known by its detections alone. */
  readonly state: CameraState | undefined
  readonly stateAtMs: number | undefined
  /** What a person wants to know: whether it works now. */
  readonly is: 'live' | 'paused' | 'opening' | 'waiting' | 'down' | 'ended' | 'offline' | 'unknown'
}

export interface Picture {
  /** JPEG. */
  readonly bytes: Buffer
  /** By the device's clock; undefined where the picture does not say. */
  readonly capturedAtMs: number | undefined
  readonly receivedAtMs: number
}

/** Live pictures: asked for at the agent while somebody looks, to any number of viewers at the cost of one. */
export interface Live {
  /**
   * Each new picture, and the last one at once where it is new enough.
   * Errors: TOO_MANY_VIEWERS
   */
  watch(camera: CameraAddress, onPicture: (picture: Picture) => void): Disposable
  /** The newest picture there is: live, or a snapshot; asked for where there is none younger than `ageMsMax`. */
  picture(camera: CameraAddress, ageMsMax: number, signal: AbortSignal): Promise<Picture | undefined>
}

/** What has just happened, in order, for event streams. */
export type NewsItem =
  | { readonly is: 'detection'; readonly detection: Detection }
  | { readonly is: 'removed'; readonly id: string; readonly camera: CameraAddress }
  | { readonly is: 'camera'; readonly camera: CameraSeen }
  | { readonly is: 'keeper'; readonly keeper: KeeperSeen }
  /** It came or went, or what it was told or answered has changed: ask for it. */
  | { readonly is: 'device'; readonly site: string; readonly device: string }
  /** An event of health was opened, changed or closed: ask for it by its id. */
  | { readonly is: 'health'; readonly id: string; readonly camera: CameraAddress | undefined }
  /** A notice was written, or one of its deliveries changed: ask for it by its id. */
  | { readonly is: 'notice'; readonly id: string; readonly camera: CameraAddress | undefined }

export interface News {
  /** The newest item's id; ids of one run of the program are comparable. */
  readonly lastId: string
  /**
   * @param afterId the last that the caller has seen; undefined: from now on
   * @param onItem false slows nobody down: what a reader does not take is its own loss
   * @returns `isComplete` false where items after that id are not there any more, so that the caller has to look anew
   */
  follow(
    afterId: string | undefined,
    onItem: (id: string, item: NewsItem) => void,
  ): Disposable & { readonly isComplete: boolean }
}

/** Towards devices and subscribers, over MQTT. */
export interface Line {
  readonly connected: boolean
  /**
   * @returns the camera's state once it shows that the command was carried out (a snapshot: once its picture came).
   *   Errors: CAMERA_OFFLINE, NOT_CONFIRMED (it was sent, and no answer came in time), BROKER_UNREACHABLE
   */
  command(camera: CameraAddress, name: CommandName, value: string, signal: AbortSignal): Promise<CameraState>
  /**
   * Changes a camera that comes to a device. @returns its state after that; undefined: it has none any more.
   *   Errors: CAMERA_OFFLINE, NOT_CONFIRMED, BROKER_UNREACHABLE
   */
  stream(camera: CameraAddress, change: StreamChange, signal: AbortSignal): Promise<CameraState | undefined>
  /**
   * Asks a subscriber to keep a stretch of a camera's recordings, or to keep it no longer.
   * @returns whether it has said that it does; it was asked all the same. Errors: KEEP_FAILED, BROKER_UNREACHABLE
   */
  keep(
    subscriber: string,
    wanted: Omit<KeepMessage, 'v' | 'request' | 'atMs'>,
    signal: AbortSignal,
  ): Promise<boolean>
  /** Asks every subscriber to forget. @returns what each removed. Errors: NOT_CONFIRMED, BROKER_UNREACHABLE, FORGET_FAILED */
  forget(selection: Selection, by: string, signal: AbortSignal): Promise<readonly Forgotten[]>
}

/** A scenario that is published, as rules and devices have it. */
export interface PublishedScenario {
  readonly id: string
  readonly revision: number
  readonly scenario: Scenario
  /** Whether its schedule holds. @param atMs milliseconds since 1970 */
  isActive(atMs: number): boolean
  /** Whether it is one of its cameras; labels included. */
  covers(camera: CameraAddress): boolean
}

export interface PublishedScenarios {
  readonly published: readonly PublishedScenario[]
  /** Called after each change of them. @returns to be called by who wants to hear no more */
  follow(changed: () => void): () => void
}

/** Where notices are written down, in the transaction of what caused them; from its commit on they are delivered. */
export interface NoticeBook {
  /**
   * A key that is known updates its notice (a higher revision) where that says something new. Idempotent: the same again
   * changes nothing.
   */
  write(transaction: Transaction<Tables>, notices: readonly NewNotice[]): Promise<void>
  /** There may be something to deliver. */
  wake(): void
}
