import { type Scenario, scenarioSchema } from './document.ts'

/** Scenarios to begin with: complete, for all cameras; whoever takes one narrows it, and says who is told. */

export interface Provided {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly document: Scenario
}

const MINUTE_MS = 60_000

/** Of every device's catalogue, with where it can be fetched. Whatever finds the faces, this one tells masks. */
const MASK = [{ name: 'mask', model: 'ultraface-rfb-640-masked' }]

const provided = (id: string, input: Parameters<typeof scenarioSchema.parse>[0] & object): Provided => {
  const document = scenarioSchema.parse({ cameras: { all: true }, ...input })
  return { id, name: document.name, description: document.description, document }
}

export const PROVIDED: readonly Provided[] = [
  provided('visitors', {
    name: 'Visitors at a door',
    description:
      'Tells of each face that comes to a door, at once with the first good picture, and again when there is a better one. Move the zone to where people stand.',
    settings: { emit: { mode: 'best', first: true } },
    zones: [
      {
        name: 'door',
        points: [
          [0.1, 0.1],
          [0.9, 0.1],
          [0.9, 1],
          [0.1, 1],
        ],
        stayS: 5,
      },
    ],
    rules: [
      {
        id: 'visitor',
        name: 'Somebody is at the door',
        on: 'face',
        conditions: { zones: ['door'], qualityMin: 0.2 },
        cooldownMs: 0,
        per: 'track',
        level: 'info',
      },
    ],
  }),
  provided('crowd', {
    name: 'More than five people',
    description: 'Tells when more than five faces are in the picture of a camera for ten seconds.',
    rules: [
      {
        id: 'crowd',
        name: 'More than five people',
        on: 'presence',
        conditions: { moreThan: 5 },
        holdMs: 10_000,
        cooldownMs: 10 * MINUTE_MS,
        per: 'camera',
        level: 'warning',
      },
    ],
  }),
  provided('without-mask', {
    name: 'Somebody without a mask',
    description:
      'Has a second look at each face, and tells of those without a mask. Its devices fetch the model for that, unless they have it.',
    process: MASK,
    rules: [
      {
        id: 'without-mask',
        name: 'Somebody without a mask',
        on: 'face',
        conditions: { attributes: [{ name: 'mask', labels: ['without mask'], scoreMin: 0.7 }] },
        per: 'track',
        level: 'warning',
      },
    ],
  }),
  provided('with-mask', {
    name: 'Somebody with a mask',
    description:
      'Has a second look at each face, and tells of those with a mask, such as in front of a counter. Its devices fetch the model for that, unless they have it.',
    process: MASK,
    rules: [
      {
        id: 'with-mask',
        name: 'Somebody with a mask',
        on: 'face',
        conditions: { attributes: [{ name: 'mask', labels: ['with mask'], scoreMin: 0.7 }] },
        per: 'track',
        level: 'warning',
      },
    ],
  }),
  provided('over-the-shoulder', {
    name: 'Somebody looks over your shoulder',
    description: 'Tells when more than one face is in the picture of a camera at a desk for a second.',
    rules: [
      {
        id: 'second-face',
        name: 'Somebody looks over your shoulder',
        on: 'presence',
        conditions: { moreThan: 1 },
        holdMs: 1000,
        cooldownMs: MINUTE_MS,
        per: 'camera',
        level: 'warning',
      },
    ],
  }),
  provided('view', {
    name: 'Camera covered or turned away',
    description:
      'Tells when a camera is covered, looks at another scene, shows the same picture over and over, or gives none.',
    rules: [
      {
        id: 'view',
        name: 'A camera is covered or turned away',
        on: 'camera',
        conditions: { states: ['covered', 'turned', 'frozen'] },
        holdMs: 5000,
        per: 'camera',
        level: 'problem',
      },
      {
        id: 'down',
        name: 'A camera gives no picture',
        on: 'camera',
        conditions: { states: ['down'] },
        holdMs: 30_000,
        per: 'camera',
        level: 'problem',
      },
    ],
  }),
  provided('device-gone', {
    name: 'Device gone',
    description: 'Tells when a device has not been connected for a minute, and when it is back.',
    rules: [
      {
        id: 'offline',
        name: 'A device is gone',
        on: 'device',
        conditions: { states: ['offline'] },
        holdMs: MINUTE_MS,
        per: 'camera',
        level: 'problem',
      },
    ],
  }),
]
