import { asFailure } from '../../lib/errors.ts'
import type { DesiredStream } from '../../wire/desired.ts'
import type { StreamChange } from '../../wire/stream.ts'
import type { Streams } from '../listen/streams.ts'
import type { Stream } from '../listen/streams-file.ts'
import { Refused } from './refused.ts'

/** One change of a stream, and what undoes it. */
export interface Step {
  readonly stream: string
  readonly change: StreamChange
  readonly undo: readonly StreamChange[]
}

/**
 * What makes the streams of a device those that a configuration says. Those of the device's own file are not touched. Pure.
 * @param owned streams that are there because an earlier configuration said so
 * Errors: NAME_TAKEN, over a stream of the device's own.
 */
export function stepsTo(
  wanted: Readonly<Record<string, DesiredStream>>,
  there: readonly Stream[],
  owned: ReadonlySet<string>,
): Step[] {
  const had = new Map(there.map((stream) => [stream.name, stream]))
  const steps: Step[] = []
  const step = (stream: string, change: StreamChange, ...undo: StreamChange[]) =>
    void steps.push({ stream, change, undo })
  for (const [name, stream] of had)
    if (owned.has(name) && !Object.hasOwn(wanted, name)) step(name, { do: 'remove' }, ...additionOf(stream))
  for (const [name, { keyHash, owner, active = true, takeOver = false }] of Object.entries(wanted)) {
    const before = had.get(name)
    const isNew = !before || before.owner !== owner
    if (before && !owned.has(name))
      throw new Refused(
        'NAME_TAKEN',
        `The device has a stream "${name}" of its own, which is not changed from afar so. Choose another name.`,
        ['streams', name],
      )
    if (before && isNew) step(name, { do: 'remove' }, ...additionOf(before))
    if (isNew)
      step(name, { do: 'add', keyHash, takeOver, ...(owner !== undefined && { owner }) }, { do: 'remove' })
    else if (before.keyHash !== keyHash)
      step(name, { do: 'rotate', keyHash }, { do: 'rotate', keyHash: before.keyHash })
    const was = isNew ? { active: true, takeOver } : before
    if (was.active !== active) step(name, activity(active), activity(was.active))
    if (was.takeOver !== takeOver)
      step(name, { do: 'settings', takeOver }, { do: 'settings', takeOver: was.takeOver })
  }
  return steps
}

const activity = (active: boolean): StreamChange => ({ do: active ? 'activate' : 'deactivate' })

const additionOf = ({ keyHash, owner, active, takeOver }: Stream): StreamChange[] => [
  { do: 'add', keyHash, takeOver, ...(owner !== undefined && { owner }) },
  ...(active ? [] : [activity(false)]),
]

/** All of them, or none. Errors: Refused, with those of changeStream. */
export async function takeSteps(streams: Pick<Streams, 'change'>, steps: readonly Step[]): Promise<void> {
  const taken: Step[] = []
  for (const step of steps) {
    try {
      await streams.change(step.stream, step.change)
      taken.push(step)
    } catch (error) {
      await undoSteps(streams, taken)
      throw Refused.at(['streams', step.stream], asFailure(error))
    }
  }
}

/** Back to how it was. */
export async function undoSteps(streams: Pick<Streams, 'change'>, steps: readonly Step[]): Promise<void> {
  for (const { stream, undo } of steps.toReversed())
    for (const change of undo) await streams.change(stream, change)
}
