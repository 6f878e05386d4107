import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { type AnyKind, KINDS } from '../wire/kinds.ts'
import { RecentIds } from './recent-ids.ts'

/**
 * What is bulky takes a lane of its own, from the broker to the bucket: a connection, an inbox, writes. Crops never wait
 * behind clips, and an inbox full of clips stops no crop.
 */

export interface Lane {
  readonly inbox: Queue
  readonly recent: RecentIds
}

export interface Lanes {
  readonly crops: Lane
  readonly clips: Lane
}

export const laneOf = (lanes: Lanes, kind: Pick<AnyKind, 'bulky'>): Lane =>
  kind.bulky ? lanes.clips : lanes.crops

/** The kinds that a lane asks the broker for. */
export const kindsOfLane = (lane: keyof Lanes) => KINDS.filter(({ bulky }) => bulky === (lane === 'clips'))

/** Names of queues and tables in the store. */
const NAMES = {
  crops: { queue: 'inbox', recent: 'recent ids' },
  clips: { queue: 'clips', recent: 'recent clip ids' },
} as const

export interface LaneBounds {
  readonly bytesMax: number
  readonly entriesMax: number
  readonly recentIdsMax: number
}

/** Of a program that is stopped, and only takes away. */
const UNBOUNDED: LaneBounds = {
  bytesMax: Number.POSITIVE_INFINITY,
  entriesMax: Number.POSITIVE_INFINITY,
  recentIdsMax: Number.POSITIVE_INFINITY,
}

export function openLanes(store: Store, bounds: Partial<Record<keyof Lanes, LaneBounds>> = {}): Lanes {
  const open = (lane: keyof Lanes): Lane => {
    const { bytesMax, entriesMax, recentIdsMax } = bounds[lane] ?? UNBOUNDED
    const { queue, recent } = NAMES[lane]
    return {
      inbox: store.queue(queue, {
        bytesMax,
        entriesMax,
        ageMsMax: Number.POSITIVE_INFINITY,
        whenFull: 'reject',
      }),
      recent: new RecentIds(store, recentIdsMax, recent),
    }
  }
  return { crops: open('crops'), clips: open('clips') }
}
