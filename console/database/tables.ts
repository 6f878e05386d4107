import type { Generated } from 'kysely'

/**
 * The tables, the same on SQLite and PostgreSQL. Times are integers, milliseconds since 1970. Truth values are 0 and 1. Ids of
 * detections and tracks are the 16 bytes of their UUID. Texts named `json` hold JSON. Hashes of secrets are 32 bytes.
 */
export interface Tables {
  cameras: CamerasTable
  detections: DetectionsTable
  attributes: AttributesTable
  detection_attributes: DetectionAttributesTable
  days: DaysTable
  reviews: ReviewsTable
  clips: ClipsTable
  clip_days: ClipDaysTable
  keeps: KeepsTable
  removed: RemovedTable
  horizons: HorizonsTable
  keepers: KeepersTable
  camera_states: CameraStatesTable
  device_statuses: DeviceStatusesTable
  health_events: HealthEventsTable
  sessions: SessionsTable
  tokens: TokensTable
  shares: SharesTable
  audit: AuditTable
  openid_users: OpenIdUsersTable
  progress: ProgressTable
  documents: DocumentsTable
  document_revisions: DocumentRevisionsTable
  desired: DesiredTable
  reported: ReportedTable
  rule_states: RuleStatesTable
  suspensions: SuspensionsTable
  decisions: DecisionsTable
  notices: NoticesTable
  deliveries: DeliveriesTable
  attempts: AttemptsTable
  push_subscriptions: PushSubscriptionsTable
  notice_books: NoticeBooksTable
}

export type Flag = 0 | 1

/** Every camera that something was ever heard of. */
export interface CamerasTable {
  /** Small: it stands in each row of `detections`. 0 is none: in `days` it stands for all cameras together. */
  id: Generated<number>
  site: string
  device: string
  camera: string
  first_seen_ms: number
  last_seen_ms: number
}

/** What the bucket has. Clustered by (at_ms, id) on SQLite. */
export interface DetectionsTable {
  /** Of the announcement: filedAtMs. */
  at_ms: number
  id: Uint8Array
  camera_id: number
  captured_at_ms: number
  stored_at_ms: number
  clock_sane: Flag
  score: number
  /** The shorter side of the box, pixels, rounded. */
  size: number
  /** [left, top, width, height], full-frame pixels. */
  box_json: string
  region_json: string
  frame_width: number
  frame_height: number
  track: Uint8Array | null
  /** `first`: a better one of the same track may follow, which hides it (superseded). Null: the camera sends one alone. */
  shot: 'first' | 'best' | null
  superseded: Flag
  zones_json: string | null
  masked: Flag | null
  model: string
  file: string | null
  quality_json: string | null
  attributes_json: string | null
  bytes: number
  sha256: Uint8Array
  /** Of the object; null where objectKey() of the row gives it, which is nearly always. */
  key: string | null
  subscriber: string
}

/** What classifiers say, each name and label once. */
export interface AttributesTable {
  id: Generated<number>
  name: string
  label: string
}

/** By attribute, newest first. What filters ask for stands here again, so that the search reads nothing else. */
export interface DetectionAttributesTable {
  attribute_id: number
  at_ms: number
  id: Uint8Array
  camera_id: number
  masked: Flag | null
  score: number
  size: number
  superseded: Generated<Flag>
  /** How sure the classifier is of it, 0 to 1. `score` is the detector's. */
  attribute_score: Generated<number>
}

type HourColumn =
  `h${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18 | 19 | 20 | 21 | 22 | 23}`
export const HOUR_COLUMNS = Array.from({ length: 24 }, (_, hour) => `h${hour}` as HourColumn)

/**
 * Counts by day (UTC) and its 24 hours: a year of 100 cameras is 110,000 short rows, where a row an hour would be 2.6 million.
 * So a chart of a year reads `total` and the hours by which the days of its time zone are shifted.
 */
export type DaysTable = {
  /** Days since 1970, UTC. */
  day: number
  /** 0: all cameras together. */
  camera_id: number
  /** -1: not known. */
  masked: -1 | Flag
  total: number
} & { [hour in HourColumn]: number }

/** A person has looked at it. */
export interface ReviewsTable {
  user: string
  /** Of the detection. */
  at_ms: number
  id: Uint8Array
  camera_id: number
  masked: Flag | null
  score: number
  size: number
  superseded: Generated<Flag>
  reviewed_at_ms: number
}

/** Chunks of recordings that the bucket has. Clustered by (camera_id, at_ms, id) on SQLite: a camera's day lies together. */
export interface ClipsTable {
  camera_id: number
  /** Of the announcement: filedAtMs; and as much later as the chunk is long. */
  at_ms: number
  id: Uint8Array
  end_ms: number
  captured_at_ms: number
  stored_at_ms: number
  clock_sane: Flag
  /** By the time stamps inside. */
  duration_ms: number
  frames: number
  frame_width: number
  frame_height: number
  rotation: number | null
  codec: string
  codecs: string
  audio_json: string | null
  init_bytes: number
  independent: Flag
  encoded: Flag
  run: Uint8Array
  sequence: number
  /** Since when nothing was recorded before it, and why; null: it follows the chunk before. */
  gap_from_ms: number | null
  gap_why: string | null
  because: string
  faces: number | null
  motion: number | null
  signer: Uint8Array | null
  previous: Uint8Array | null
  bytes: number
  sha256: Uint8Array
  /** Of the object; null where objectKey() of the row gives it, which is nearly always. */
  key: string | null
  subscriber: string
  /** When the bucket was seen not to have it; null: it has, as far as is known. */
  lost_at_ms: number | null
}

/** What there is of a camera's recordings, by day (UTC). */
export interface ClipDaysTable {
  /** Days since 1970, UTC. */
  day: number
  camera_id: number
  clips: number
  bytes: number
  duration_ms: number
}

/** What of a camera's recordings a subscriber keeps: the last that it said. */
export interface KeepsTable {
  camera_id: number
  subscriber: string
  at_ms: number
  /** A list of Stretch (wire/keep.ts). */
  stretches_json: string
}

/** Ids that are gone, for a while: a late or repeated 'stored' does not bring them back. */
export interface RemovedTable {
  id: Uint8Array
  why: 'forgotten' | 'expired'
  removed_at_ms: number
}

/** Below which a subscriber's bucket has nothing any more. */
export interface HorizonsTable {
  subscriber: string
  filed_before_ms: number
}

/** The last report of each (wire/keepers.ts). */
export interface KeepersTable {
  keeper: string
  at_ms: number
  received_at_ms: number
  report_json: string
}

export interface CameraStatesTable {
  camera_id: number
  received_at_ms: number
  state_json: string
}

export interface DeviceStatusesTable {
  site: string
  device: string
  received_at_ms: number
  status_json: string
}

/** The timeline of health. */
export interface HealthEventsTable {
  /** UUIDv7 as text. */
  id: string
  at_ms: number
  /** `camera-down`, `device-offline`, `queue-growing`, `quarantine`, `certificate-ends`, ... */
  kind: string
  /** What it is about: `site/device/camera`, `site/device`, or a keeper and its queue. */
  subject: string
  /** For the scope of who looks: null where it belongs to no site. */
  site: string | null
  /** `site/device/camera`, where it belongs to one. */
  camera: string | null
  level: 'info' | 'warning' | 'problem'
  text: string
  /** Null while it lasts; an event of a moment ends when it begins. */
  ended_at_ms: number | null
  reviewed_by: string | null
  reviewed_at_ms: number | null
}

export interface SessionsTable {
  /** SHA-256 of the cookie's secret. */
  hash: Uint8Array
  user: string
  /** What the user's password or entry was at sign-in, as a fingerprint: a change ends the session. */
  fingerprint: string
  /** `password`, `oidc`, `demo`. */
  by: string
  /** Role, scope and rights, where the users file does not say them (OpenID Connect). */
  person_json: string | null
  created_at_ms: number
  last_used_ms: number
  expires_at_ms: number
}

export interface TokensTable {
  /** UUIDv7 as text. */
  id: string
  hash: Uint8Array
  name: string
  user: string
  scopes_json: string
  created_at_ms: number
  /** Null: does not expire. */
  expires_at_ms: number | null
  last_used_ms: number | null
  revoked_at_ms: number | null
}

export interface SharesTable {
  id: string
  hash: Uint8Array
  /** A face, a search, or a stretch of a recording. */
  kind: 'detection' | 'search' | 'recording'
  /** The detection's id, the filter or the stretch, and the sharer's scope. */
  target_json: string
  by: string
  created_at_ms: number
  expires_at_ms: number
  /** How often it was opened, and may be. */
  opened: number
  opened_max: number | null
  last_opened_ms: number | null
  revoked_at_ms: number | null
}

/** Only grows: the database itself refuses to change or delete a row. */
export interface AuditTable {
  /** UUIDv7 as text: in order of time. */
  id: string
  at_ms: number
  user: string
  /** `session`, `token <id>`, `share <id>`, `command line`. */
  by: string
  /** From where, where it is known. */
  address: string | null
  /** `sign-in`, `token.create`, `detection.delete`, `recording.view`, ... */
  action: string
  subject: string
  details_json: string | null
}

/** People of an OpenID provider, as they were when they last signed in: their tokens and shares depend on it. */
export interface OpenIdUsersTable {
  user: string
  issuer: string
  subject: string
  /** Of PERSON_ROLES. */
  role: string
  /** A list of names; null: every site. */
  sites_json: string | null
  signed_in_at_ms: number
}

/** Where long work is: `reindex`, `reconcile`. */
export interface ProgressTable {
  name: string
  at_ms: number
  progress_json: string
}

/** What operators write (scenarios/document.ts, notices/channel.ts), as it is now. */
export interface DocumentsTable {
  kind: 'scenario' | 'device' | 'channel'
  /** Of a device `site/device`. */
  id: string
  name: string
  /** Of a scenario: draft, published, paused. Of others `published`. */
  state: string
  /** From 1. */
  revision: number
  document_json: string
  created_at_ms: number
  created_by: string
  changed_at_ms: number
  changed_by: string
}

/** What they were, for good: also of documents that are deleted. */
export interface DocumentRevisionsTable {
  kind: 'scenario' | 'device' | 'channel'
  id: string
  revision: number
  at_ms: number
  by: string
  /** `create`, `change`, `publish`, `pause`, `delete`, `roll back to 3`. */
  what: string
  state: string
  /** Of channels without secrets. */
  document_json: string
}

/** The last that each device was told (wire/desired.ts). */
export interface DesiredTable {
  site: string
  device: string
  version: number
  digest: string
  content_json: string
  at_ms: number
  by: string
  /** Ids of the scenarios in it. */
  scenarios_json: string
}

/** The last that each device answered. */
export interface ReportedTable {
  site: string
  device: string
  received_at_ms: number
  reported_json: string
}

/** What a rule remembers across a restart. */
export interface RuleStatesTable {
  scenario: string
  rule: string
  /** What it is one of: a track, a camera, or the scenario. */
  key: string
  /** When its last notice was made; null: none yet. */
  noticed_at_ms: number | null
  /** Since when it holds; null: it does not. */
  since_ms: number | null
  notice: string | null
}

/** No notices for a while. */
export interface SuspensionsTable {
  scenario: string
  /** Empty: of all rules, and of all cameras (`site/device/camera`). */
  rule: string
  camera: string
  until_ms: number
  by: string
}

export interface DecisionsTable {
  /** UUIDv7 as text. */
  id: string
  at_ms: number
  scenario: string
  rule: string
  /** `site/device/camera`. */
  camera: string | null
  track: string | null
  what: string
  until_ms: number | null
  text: string
  /** How often it was within its minute. */
  times: number
}

export interface NoticesTable {
  /** UUID as text. */
  id: string
  /** By which it is found again (rules/fact.ts). */
  key: string
  at_ms: number
  changed_at_ms: number
  revision: number
  scenario: string
  rule: string
  level: string
  /** For the scope of who looks. */
  site: string | null
  /** `site/device/camera`. */
  camera: string | null
  /** What it shows or tells of: the object's id, so that it is found when that is forgotten. */
  object: string | null
  /** wire/notice.ts, without picture and addresses. */
  notice_json: string
}

/** The outbox: a revision of a notice on its way over a channel. */
export interface DeliveriesTable {
  /** UUIDv7 as text: in order of time. */
  id: string
  notice: string
  revision: number
  channel: string
  /** The browser, where the channel is push. */
  target: string
  /** What goes one after the other: the notice, or the camera where the channel is ordered. */
  line: string
  state: 'waiting' | 'sent' | 'given up' | 'not sent'
  attempts: number
  /** When it is due; when it is given up. */
  due_at_ms: number
  give_up_at_ms: number
  made_at_ms: number
  done_at_ms: number | null
  /** Why it was given up or not sent. */
  why: string | null
  /** Of a rule on arrivals, which what a channel takes in an hour is not meant for. */
  is_arrival: Flag
}

export interface AttemptsTable {
  delivery: string
  /** From 1. */
  number: number
  at_ms: number
  duration_ms: number
  /** Of HTTP or SMTP. */
  status: number | null
  code: string | null
  /** The beginning of what was answered. */
  answer: string | null
}

export interface PushSubscriptionsTable {
  id: string
  user: string
  endpoint: string
  keys_json: string
  /** For people: which browser. */
  name: string
  created_at_ms: number
  last_sent_ms: number | null
}

/** By channel, since ever: made = sent + given up + not sent + waiting. A delivery that is sent again counts again. */
export interface NoticeBooksTable {
  channel: string
  made: number
  sent: number
  given_up: number
  not_sent: number
}
