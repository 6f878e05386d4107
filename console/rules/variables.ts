import type { FactKind } from './rule.ts'

/** What an expression may look at, for each kind of fact: for its type check, for who writes one, and for its evaluation. Pure. */

export interface Variable {
  readonly name: string
  /** Of CEL. */
  readonly type:
    | 'bool'
    | 'int'
    | 'double'
    | 'string'
    | 'list<string>'
    | 'map<string, string>'
    | 'map<string, double>'
  readonly text: string
}

/** At most so many elements are in a list or map of a fact: what a loop over it costs (wire/zones.ts, wire/stored.ts). */
export const ELEMENTS_MAX = 32

const variable = (name: string, type: Variable['type'], text: string): Variable => ({ name, type, text })

const PLACE = [
  variable('site', 'string', 'The site.'),
  variable('device', 'string', 'The device, without its site.'),
  variable('camera', 'string', 'The camera, without its site and device.'),
]
const ZONES = variable('zones', 'list<string>', 'The zones that the face is in: "door" in zones.')
const SCORE = variable('score', 'double', 'How sure the detector is that it is a face, 0 to 1.')
const SIZE = variable('size', 'int', 'The shorter side of the face, pixels.')
const TRACK = variable('track', 'string', 'The followed face, the same in all of its pictures; "" in photos.')

const FACE = [
  ...PLACE,
  ZONES,
  SCORE,
  SIZE,
  TRACK,
  variable('quality', 'double', 'How good the picture is, 0 to 1; 0 where that is not known.'),
  variable('masked', 'bool', 'The face wears a mask; false also where that is not known.'),
  variable('unmasked', 'bool', 'The face wears no mask; false also where that is not known.'),
  variable('shot', 'string', '"first" at once, "best" at the end of a face; "" where there is one only.'),
  variable(
    'labels',
    'map<string, string>',
    'What classifiers say, by attribute: has(labels.glasses) && labels.glasses == "yes".',
  ),
  variable('labelScores', 'map<string, double>', 'How sure they are of it, 0 to 1, by attribute.'),
  variable('file', 'string', 'The name of the photo; "" of cameras.'),
]

const FOLLOWED = [
  ...PLACE,
  ZONES,
  SCORE,
  SIZE,
  TRACK,
  variable('topScore', 'double', 'The highest score so far, 0 to 1.'),
  variable('seenS', 'double', 'For how long it has been seen, seconds.'),
  variable('stationary', 'bool', 'It has not moved for some seconds.'),
  variable('crops', 'int', 'How many pictures of it were sent.'),
]

export const VARIABLES: Readonly<Record<FactKind, readonly Variable[]>> = {
  face: FACE,
  track: [...FOLLOWED, variable('event', 'string', '"new", "update" or "end".')],
  zone: [
    ...FOLLOWED,
    variable('event', 'string', '"enter", "leave" or "stay".'),
    variable('zone', 'string', 'The zone that it came into, left, or stays in.'),
    variable('inZoneS', 'double', 'For how long it has been in it, seconds.'),
  ],
  presence: [
    ...PLACE,
    variable('count', 'int', 'How many faces are there now: in the zones of the rule, or in the picture.'),
    variable('faces', 'int', 'How many faces are in the picture now.'),
  ],
  count: [
    ...FACE,
    variable('count', 'int', "How many different faces came within the rule's time, this one included."),
  ],
  camera: [
    ...PLACE,
    variable(
      'state',
      'string',
      '"live", "paused", "opening", "waiting", "down", "ended", "offline" or "unknown".',
    ),
    variable('view', 'string', '"clear", "covered", "turned" or "frozen"; "" where that is not watched.'),
    variable('recording', 'bool', 'It records now.'),
    variable('faces', 'int', 'How many faces are in the picture now.'),
    variable(
      'detect',
      'string',
      'Where faces are looked for: "local", "remote" or "none"; "" where there are no inference servers.',
    ),
    variable('processorsDown', 'list<string>', 'Its classifiers and plugins that do not work.'),
    variable('why', 'string', 'What is wrong with it, in a sentence; "" where nothing is.'),
  ],
  device: [
    variable('site', 'string', 'The site.'),
    variable('device', 'string', 'The device, without its site.'),
    variable('online', 'bool', 'It is connected.'),
  ],
  keeper: [
    variable('program', 'string', '"device", "broker", "subscriber" or "console".'),
    variable('name', 'string', 'As it is configured; of a device site/device.'),
    variable('well', 'bool', 'It says that it is well.'),
    variable('silent', 'bool', 'It has missed three of its reports.'),
    variable('waiting', 'int', 'Messages that wait in its queues.'),
    variable('waitsS', 'double', 'For how long the oldest of them has waited, seconds.'),
  ],
  arrival: [
    ...PLACE,
    variable('kind', 'string', '"crop" or "clip".'),
    variable('fileBytes', 'int', 'Its size.'),
    variable('width', 'int', 'Of the frame, pixels.'),
    variable('height', 'int', 'Of the frame, pixels.'),
    variable('durationS', 'double', 'Of a chunk of a recording, seconds; 0 of pictures.'),
    variable('faces', 'int', 'Faces in it; 1 of a picture, 0 where that is not known.'),
    variable('motion', 'double', 'Of a chunk of a recording, 0 to 1; 0 where that is not known.'),
  ],
}
