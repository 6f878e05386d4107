import type { FaceEvent } from '../../wire/event.ts'
import type { Notice } from '../../wire/notice.ts'
import type { StoredClip } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { CameraSeen, DeviceSeen, KeeperSeen } from '../context.ts'
import type { Detection } from '../database/detection.ts'

/** What has happened or is so, for rules to look at; and what they make of it. */

export type Fact =
  | { readonly is: 'face'; readonly detection: Detection }
  /** `track` and `zone`. */
  | { readonly is: 'event'; readonly event: FaceEvent }
  /** `camera`, `presence`. */
  | { readonly is: 'camera'; readonly camera: CameraSeen }
  | { readonly is: 'device'; readonly device: DeviceSeen }
  | { readonly is: 'keeper'; readonly keeper: KeeperSeen }
  | { readonly is: 'clip'; readonly clip: StoredClip }

/** A notice to be written down, and to be delivered from then on. */
export interface NewNotice {
  /** Without revision, picture and addresses, which are added as it is written and sent. */
  readonly notice: Omit<Notice, 'v' | 'revision' | 'madeAtMs' | 'picture' | 'url'>
  /** By which a better picture, or the end, finds it again: the same key, the same notice. */
  readonly key: string
  readonly channels: readonly string[]
  readonly camera?: CameraAddress
}

/** Why a rule that held made no notice, for people: "why was nothing sent". */
export interface Decision {
  readonly atMs: number
  readonly scenario: string
  readonly rule: string
  readonly camera: CameraAddress | undefined
  readonly track: string | undefined
  readonly what:
    | 'sent'
    | 'updated'
    | 'cooldown'
    | 'quiet hours'
    | 'suspended'
    | 'outside schedule'
    | 'holding'
    | 'no channel'
    | 'rule error'
    | 'too many'
    | 'too late'
  readonly untilMs?: number
  readonly text: string
}
