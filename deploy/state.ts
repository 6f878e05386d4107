import { createHash } from 'node:crypto'
import { failure } from '../lib/errors.ts'
import { STATE_BYTES_MAX } from './limits.ts'
import { stateVolume } from './names.ts'
import type { Secrets } from './secrets.ts'
import type { Settings } from './settings.ts'
import type { Volumes } from './volumes.ts'

/** What deploy remembers of a deployment, in a volume of its own on the engine that no running container has. */
export interface State {
  readonly version: typeof VERSION
  readonly settings: Settings
  readonly secrets: Secrets
}

/** 1 knew one user for all edges, and would forget those that have their own. */
const VERSION = 2

/**
 * Two files take turns, each with a number and a checksum: a deploy that is interrupted while it writes leaves the other
 * one, and with it the passwords that edges have.
 */
const SLOTS = ['a.json', 'b.json'] as const

interface Slot {
  readonly file: string
  readonly turn: number
  readonly state: State
}

/** Errors: STORE_NEWER */
export async function readState(volumes: Volumes, deployment: string): Promise<State | undefined> {
  return (await newest(volumes, deployment))?.state
}

export async function writeState(volumes: Volumes, deployment: string, state: State): Promise<void> {
  const volume = stateVolume(deployment)
  const last = await newest(volumes, deployment)
  if (last && JSON.stringify(last.state) === JSON.stringify(state)) return
  const body = JSON.stringify({ turn: (last?.turn ?? 0) + 1, state })
  await volumes.ensure(volume, 'state')
  await volumes.put(volume, {
    [SLOTS.find((file) => file !== last?.file) ?? SLOTS[0]]: Buffer.from(`${checksum(body)}\n${body}`),
  })
}

export const newState = (settings: Settings, secrets: Secrets): State => ({
  version: VERSION,
  settings,
  secrets,
})

async function newest(volumes: Volumes, deployment: string): Promise<Slot | undefined> {
  const volume = stateVolume(deployment)
  if (!(await volumes.exists(volume))) return undefined
  const files = await volumes.read(volume, STATE_BYTES_MAX)
  const slots = SLOTS.flatMap((file) => parse(file, files[file]?.toString('utf8')) ?? [])
  slots.sort((a, b) => b.turn - a.turn)
  const [slot] = slots
  if (slot && slot.state.version > VERSION)
    throw failure(
      'STORE_NEWER',
      `"${deployment}" was deployed by a newer version of Sightline. Use that version or a newer one.`,
    )
  return slot
}

function parse(file: string, text: string | undefined): Slot | undefined {
  const end = text?.indexOf('\n') ?? -1
  if (text === undefined || end < 0) return undefined
  const body = text.slice(end + 1)
  if (checksum(body) !== text.slice(0, end)) return undefined
  return { file, ...(JSON.parse(body) as { turn: number; state: State }) }
}

const checksum = (text: string) => createHash('sha256').update(text).digest('hex')
