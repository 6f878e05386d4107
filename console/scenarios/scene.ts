import { failure } from '../../lib/errors.ts'
import type { CameraSettingsFromAfar } from '../../wire/desired.ts'
import { may, type Person } from '../access/may.ts'
import { isSame } from './diff.ts'
import type { DeviceDocument, Scenario } from './document.ts'

/**
 * Settings that show or keep the scene as it is: an effect, masks, recording. Commands to change these take the right
 * "recordings", and documents are no way around that. Pure.
 */
type Scene = Pick<CameraSettingsFromAfar, 'view' | 'record' | 'masks'>

const sceneOf = ({ view, record, masks }: CameraSettingsFromAfar): Scene => ({
  ...(view && { view }),
  ...(record && { record }),
  ...(masks && { masks }),
})

/**
 * For what holds, or is to hold, or holds no more: also which cameras it is for, and when, decides what is seen.
 * Errors: NOT_ALLOWED
 */
export function demandScene(person: Person, ...scenarios: readonly Scenario[]): void {
  if (may(person, 'recordings')) return
  if (scenarios.some(({ settings }) => Object.keys(sceneOf(settings)).length > 0)) throw refused()
}

/** Errors: NOT_ALLOWED, where one of a device's cameras would show or keep something else. */
export function demandSceneOfDevice(
  person: Person,
  before: DeviceDocument | undefined,
  after: DeviceDocument,
): void {
  if (!may(person, 'streams') && !isSame(before?.content.streams ?? {}, after.content.streams ?? {}))
    throw failure('NOT_ALLOWED', 'Streams that come to a device take the right "streams".')
  if (may(person, 'recordings')) return
  const scenes = ({ content: { cameras = {} } }: DeviceDocument) =>
    Object.fromEntries(
      Object.entries(cameras)
        .map(([name, settings]) => [name, sceneOf(settings)] as const)
        .filter(([, scene]) => Object.keys(scene).length > 0),
    )
  if (!isSame(before ? scenes(before) : {}, scenes(after))) throw refused()
}

const refused = () =>
  failure(
    'NOT_ALLOWED',
    'It decides what is recorded, or shown in spite of an effect or a mask, which takes the right "recordings".',
  )
