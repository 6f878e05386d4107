import type { Camera } from '../../api/cameras.ts'
import type { EventData } from '../../api/events.ts'
import { cameraKey } from '../words.ts'

/** Cameras as they were fetched, with what has been said since. Pure. */
export function withNews(
  cameras: readonly Camera[],
  said: ReadonlyMap<string, EventData<'camera'>>,
): readonly Camera[] {
  const all = new Map(cameras.map((camera) => [cameraKey(camera), camera]))
  for (const [key, camera] of said) all.set(key, { ...camera, newest: all.get(key)?.newest ?? null })
  return [...all.values()]
}
