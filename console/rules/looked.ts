import type { FaceEvent } from '../../wire/event.ts'
import type { StoredClip } from '../../wire/stored.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { CameraSeen, DeviceSeen, KeeperSeen } from '../context.ts'
import type { Detection } from '../database/detection.ts'
import type { Values } from './expression.ts'

/** A fact as rules look at it: what conditions ask for, and the variables of expressions, made when the first asks. Pure. */
export interface Looked {
  readonly path: string
  readonly zones: readonly string[]
  readonly score: number
  readonly quality: number
  readonly size: number
  readonly masked: boolean | undefined
  readonly attributes: Detection['attributes']
  /** Of events; and its zone. */
  readonly event: FaceEvent['type'] | undefined
  readonly zone: string | undefined
  /** Of cameras, devices and programs: all that is wrong with it. */
  readonly states: readonly string[]
  readonly program: string | undefined
  readonly kind: 'crop' | 'clip' | undefined
  readonly values: () => Values
}

export const pathOf = ({ site, device, camera }: CameraAddress) => `${site}/${device}/${camera}`

const NOTHING = {
  path: '',
  zones: [],
  score: 0,
  quality: 0,
  size: 0,
  masked: undefined,
  attributes: [],
  event: undefined,
  zone: undefined,
  states: [],
  program: undefined,
  kind: undefined,
} as const satisfies Omit<Looked, 'values'>

/** Where a device says something that is no number. */
const int = (value: number) => BigInt(Math.round(Number.isFinite(value) ? value : 0))
const shorterSide = ([, , width, height]: readonly [number, number, number, number]) =>
  Math.round(Math.min(width, height))

function lazily(make: () => Values): () => Values {
  let made: Values | undefined
  return () => {
    made ??= make()
    return made
  }
}

export function lookAtFace(it: Detection): Looked {
  const { site, device, camera, zones = [], score, masked, attributes } = it
  const size = shorterSide(it.box)
  const quality = it.quality?.total ?? 0
  return {
    ...NOTHING,
    path: pathOf(it),
    zones,
    score,
    quality,
    size,
    masked,
    attributes,
    kind: 'crop',
    values: lazily(() => {
      const surest = [...attributes].sort((a, b) => a.score - b.score)
      return {
        site,
        device,
        camera,
        zones,
        score,
        quality,
        size: int(size),
        track: it.track ?? '',
        masked: masked === true,
        unmasked: masked === false,
        shot: it.shot ?? '',
        labels: Object.fromEntries(surest.map(({ name, label }) => [name, label])),
        labelScores: Object.fromEntries(surest.map((one) => [one.name, one.score])),
        file: it.file ?? '',
        // Of an arrival.
        kind: 'crop',
        fileBytes: int(it.bytes),
        width: int(it.frame[0]),
        height: int(it.frame[1]),
        durationS: 0,
        faces: 1n,
        motion: 0,
      }
    }),
  }
}

export function lookAtEvent({ type, zone, inZoneMs = 0, after }: FaceEvent): Looked {
  const { site, device, camera, zones = [], score } = after
  const size = shorterSide(after.box)
  return {
    ...NOTHING,
    path: pathOf(after),
    zones,
    score,
    size,
    event: type,
    zone,
    values: lazily(() => ({
      site,
      device,
      camera,
      zones,
      score,
      size: int(size),
      track: after.id,
      topScore: after.topScore,
      seenS: (after.seenMs - after.startMs) / 1000,
      stationary: after.stationary,
      crops: int(after.crops),
      event: type,
      zone: zone ?? '',
      inZoneS: inZoneMs / 1000,
    })),
  }
}

/** All that is wrong with a camera. One whose device is away is `offline`, and nothing else is known of it. */
function statesOf({ is, state }: CameraSeen): string[] {
  if (is === 'offline') return ['offline']
  const states: string[] = [is]
  if (is !== 'live' && is !== 'down') return states
  if (state?.detect?.on === 'none') states.push('not looking')
  if (isWithoutServers(state)) states.push('without servers')
  if (state?.process?.some((one) => one.state === 'down')) states.push('processor down')
  if (is !== 'live') return states
  if (state?.view && state.view.is !== 'clear') states.push(state.view.is)
  const record = state?.record
  // As for health: it should, and it does not, and says why.
  if (record && record.mode !== 'off' && !record.recording && record.why !== null)
    states.push('not recording')
  return states
}

/** Its device looks itself, where inference servers should. */
export const isWithoutServers = (state: CameraSeen['state']) =>
  state?.detect?.on === 'local' && state.detect.why !== null

export function lookAtCamera(it: CameraSeen): Looked {
  const { site, device, camera, state } = it
  return {
    ...NOTHING,
    path: pathOf(it),
    states: statesOf(it),
    values: lazily(() => ({
      site,
      device,
      camera,
      state: it.is,
      view: state?.view?.is ?? '',
      recording: state?.record?.recording ?? false,
      faces: int(state?.present?.faces ?? 0),
      detect: state?.detect?.on ?? '',
      processorsDown: (state?.process ?? []).filter((one) => one.state === 'down').map(({ name }) => name),
      why: state?.why ?? state?.record?.why ?? '',
    })),
  }
}

export function lookAtDevice({ site, device, isOnline }: DeviceSeen): Looked {
  return {
    ...NOTHING,
    path: `${site}/${device}`,
    states: isOnline ? [] : ['offline'],
    values: () => ({ site, device, online: isOnline }),
  }
}

export function lookAtKeeper({ report, isSilent }: KeeperSeen): Looked {
  const { program, name, ok, ended, queues, atMs } = report
  return {
    ...NOTHING,
    path: report.keeper,
    // Whoever ended in order is neither.
    states: ended ? [] : isSilent ? ['silent'] : ok ? [] : ['unwell'],
    program,
    values: lazily(() => {
      const waiting = queues.filter((queue) => !/^quarantine(\/|$)/.test(queue.name))
      return {
        program,
        name,
        well: ok,
        silent: isSilent && !ended,
        waiting: int(waiting.reduce((all, { pending }) => all + pending, 0)),
        waitsS: Math.max(0, ...waiting.map(({ oldestAtMs }) => (atMs - (oldestAtMs ?? atMs)) / 1000)),
      }
    }),
  }
}

export function lookAtClip(it: StoredClip): Looked {
  const { site, device, camera } = it
  return {
    ...NOTHING,
    path: pathOf(it),
    kind: 'clip',
    values: lazily(() => ({
      site,
      device,
      camera,
      kind: 'clip',
      fileBytes: int(it.bytes),
      width: int(it.frame[0]),
      height: int(it.frame[1]),
      durationS: it.durationMs / 1000,
      faces: int(it.faces ?? 0),
      motion: it.motion ?? 0,
    })),
  }
}
