import { stripVTControlCharacters, styleText } from 'node:util'
import { latencyQuantile, type Readings } from './readings.ts'

export interface Scene {
  /** As the user gave it; none: the testcard. */
  readonly source: string | undefined
  readonly console: string
  readonly gallery: string
  /** How a camera of the user's own gets in, where one may. */
  readonly guest: { readonly server: string; readonly key: string; readonly page: string } | undefined
  /** The port that the gallery would have had by itself, where it could not. */
  readonly portTaken: number | undefined
  readonly data: string
  readonly keepsData: boolean
  /** Crops that were in the folder before this run. */
  readonly before: number
  readonly model: string
}

export interface Moment {
  readonly scene: Scene
  readonly elapsedMs: number
  readonly now: Readings
  /** Some seconds ago, for rates. */
  readonly before: Readings | undefined
  readonly plugged: boolean
  readonly sourceEnded: boolean
  /** Why the camera gives no pictures, where it gives none. */
  readonly cameraDown: string | undefined
  /** How many crops waited at the edge, a value a second, newest last. */
  readonly edgeHistory: readonly number[]
  /** What is being done at the moment, where it is not simply running. */
  readonly note: string | undefined
}

const BARS = '▁▂▃▄▅▆▇█'
const count = (value: number) => value.toLocaleString('en')
const dim = (text: string) => styleText('dim', text)
const bold = (text: string) => styleText('bold', text)
const good = (text: string) => styleText('green', text)
const bad = (text: string) => styleText('yellow', text)

/** Below it the view leaves out what can be done without; below the other one, rates too. */
const COLUMNS_WIDE = 80
const COLUMNS_NARROW = 60
/** So that the curve beside it stays where it is. */
const QUEUED_DIGITS = 5

/** What goes first where the terminal has too few rows: the keys go last. */
const RANKS = [
  'blank',
  'next',
  'guest',
  'title',
  'source',
  'latency',
  'data',
  'row',
  'link',
  'gallery',
  'console',
  'fault',
  'done',
  'keys',
] as const
type Line = readonly [rank: (typeof RANKS)[number], text: string]

/** The live view: lines of text for a terminal of so many columns and rows, none wider and no more of them. Pure. */
export function render(moment: Moment, columns: number, rows = Number.POSITIVE_INFINITY): string[] {
  const { scene, now, before, plugged, note, sourceEnded, cameraDown } = moment
  const wide = columns >= COLUMNS_WIDE
  const narrow = columns < COLUMNS_NARROW
  const rate = (select: (readings: Readings) => number) => {
    if (!before || now.atMs <= before.atMs) return ''
    return `${((Math.max(0, select(now) - select(before)) / (now.atMs - before.atMs)) * 1000).toFixed(1)}/s`
  }
  const row = (name: string, ok: boolean, what: string, value: number, pace: string, rest: string): Line => [
    'row',
    `  ${ok ? good('●') : bad('●')} ${name.padEnd(13)}${wide ? ` ${dim(what.padEnd(9))}` : ''} ${bold(count(value).padStart(9))}${narrow ? '' : ` ${dim(pace.padStart(9))}`}   ${rest}`,
  ]
  const waiting = (label: string, value: number) => `${dim(label)} ${value > 0 ? bold(count(value)) : '0'}`
  const queued = count(now.edge.pending).padEnd(QUEUED_DIGITS)
  const taken = wide ? 60 : narrow ? 40 : 50
  const history = moment.edgeHistory.slice(-Math.max(1, columns - taken - queued.length))
  const p50 = latencyQuantile(before, now, 0.5)
  const p99 = latencyQuantile(before, now, 0.99) ?? p50
  const tail = `  ·  ${scene.model}  ·  ${clock(moment.elapsedMs)}`
  const source = scene.source ?? `testcard${wide ? ': drawn faces that cross the picture' : ''}`
  const plug = plugged ? `unplug the link${wide ? ' to the cloud' : ''}` : 'plug the link in again'
  const keys = `${bold('u')} ${plug}     ${bold('q')} quit${wide ? ' and show the books' : ''}`
  const ofData = narrow ? '' : dataWord(scene, wide)
  const isDown = cameraDown !== undefined && !sourceEnded
  const lines: Line[] = [
    ['blank', ''],
    [
      'title',
      `  ${bold('Sightline')}  ${dim(`faces from camera to bucket${wide ? ', nothing lost on the way' : ''}`)}`,
    ],
    ['source', `  ${dim(`${shorten(source, columns - 3 - tail.length)}${tail}`)}`],
    ['blank', ''],
    row(
      'camera',
      !sourceEnded && cameraDown === undefined,
      'captured',
      now.captured,
      rate(({ captured }) => captured),
      sourceEnded
        ? wide
          ? 'the source has ended'
          : 'has ended'
        : cameraDown !== undefined
          ? bad('no picture')
          : now.skipped > 0
            ? `${dim('skipped')} ${count(now.skipped)}`
            : '',
    ),
    row(
      'faces',
      true,
      'detected',
      now.detected,
      rate(({ detected }) => detected),
      wide ? dim('counted in each picture') : '',
    ),
    row(
      'agent',
      true,
      'published',
      now.publishedAtLast,
      rate(({ publishedAtLast }) => publishedAtLast),
      `${waiting('waiting', now.waiting)}${now.droppedByAgent > 0 ? `  ${dim('dropped')} ${count(now.droppedByAgent)}` : ''}`,
    ),
    row(
      'edge broker',
      now.linkUp,
      'forwarded',
      now.edge.forwarded,
      rate(({ edge }) => edge.forwarded),
      `${dim('queued')} ${now.edge.pending > 0 ? bold(queued) : queued}  ${sparkline(history)}`,
    ),
    row(
      'cloud broker',
      true,
      'forwarded',
      now.cloud.forwarded,
      rate(({ cloud }) => cloud.forwarded),
      waiting('queued', now.cloud.pending),
    ),
    row(
      'bucket',
      true,
      'stored',
      now.stored,
      rate(({ stored }) => stored),
      waiting('inbox', now.inboxWaiting),
    ),
    row(
      'recordings',
      true,
      'chunks',
      now.clips.stored,
      rate(({ clips }) => clips.stored),
      waiting('on the way', Math.max(0, now.clips.made - now.clips.stored)),
    ),
    ['blank', ''],
    isDown
      ? ['fault', `  ${dim('camera error')}      ${bad(cameraDown)}`]
      : [
          'latency',
          `  ${dim('frame to object')}   ${
            p50 === undefined || p99 === undefined
              ? dim(narrow ? 'nothing stored lately' : 'nothing stored in the last seconds')
              : narrow
                ? `half ${bold(ms(p50))}, 99 % ${bold(ms(p99))}`
                : `half within ${bold(ms(p50))}, 99 % within ${bold(ms(p99))}`
          }`,
        ],
    [
      'link',
      `  ${dim('link to cloud  ')}   ${plugged ? (now.linkUp ? good('connected') : bad('reconnecting ...')) : bad(`unplugged: crops wait${narrow ? '' : ' at the edge'}${wide ? ', on disk' : ''}`)}`,
    ],
    ['blank', ''],
    consoleLine(scene, columns),
    ['gallery', `  ${dim('Gallery')}   ${bold(scene.gallery)}${narrow ? '' : dim(portWord(scene, wide))}`],
    ...guestLines(scene, columns),
    ['data', `  ${dim('Data')}      ${shorten(scene.data, columns - 13 - ofData.length)}${dim(ofData)}`],
    ['blank', ''],
    ...hint(moment, wide),
    ['keys', `  ${note ?? keys}`],
  ]
  return fit(lines, rows).map(([, line]) => clip(line, columns))
}

/** A link that is cut off opens nothing. */
function consoleLine({ console }: Scene, columns: number): Line {
  const name = `  ${dim('Console')}   `
  if (console.length + 13 < columns) return ['console', `${name}${bold(console)}`]
  if (console.length + 1 < columns) return ['console', bold(console)]
  return ['console', `${name}${dim(`${console.length + 2} columns show its link`)}`]
}

/** What OBS asks for, and the page for a browser. */
function guestLines({ guest }: Scene, columns: number): Line[] {
  if (!guest) return []
  const obs = `  ${dim('OBS')}       ${bold(guest.server)}  ${dim('key')} ${bold(guest.key)}`
  const browser = `  ${dim('Browser')}   ${bold(guest.page)}`
  // What is cut off opens nothing.
  return [obs, browser]
    .filter((line) => stripVTControlCharacters(line).length < columns)
    .map((line) => ['guest', line])
}

function portWord({ portTaken }: Scene, wide: boolean): string {
  return portTaken === undefined ? '' : `  ${portTaken} is in use${wide ? '; --port chooses another' : ''}`
}

function dataWord({ keepsData, before }: Scene, wide: boolean): string {
  if (!keepsData) return `  removed at the end${wide ? '; --data DIR keeps it' : ''}`
  return before > 0 ? `  ${count(before)}${wide ? ' crops' : ''} from before` : ''
}

/** What comes next: what is done when a source has ended, or what else there is to see. */
function hint({ scene, now, plugged, sourceEnded, note }: Moment, wide: boolean): Line[] {
  if (note !== undefined) return [['blank', '']]
  if (sourceEnded && now.edge.pending + now.cloud.pending + now.inbox.pending > 0)
    return [
      [
        'done',
        `  ${bold('The source has ended')}; the last crops ${plugged ? 'are on their way' : 'wait for the link'}.`,
      ],
    ]
  if (sourceEnded)
    return [
      [
        'done',
        `  ${bold('Done')}${wide ? ': everything is in the bucket' : ''}. ${bold('q')} ends the demo, and the gallery closes.`,
      ],
    ]
  if (scene.source !== undefined) return [['blank', '']]
  return [
    [
      'next',
      `  ${dim(`Next: sightline demo --source FILE${wide ? ', FOLDER, rtsp://... or /dev/video0' : ''}`)}`,
    ],
  ]
}

/** As many lines as there are rows: those of the lowest rank go first, from the top. */
function fit(lines: readonly Line[], rows: number): readonly Line[] {
  const left = [...lines]
  while (left.length > Math.max(1, rows)) {
    const ranks = left.map(([rank]) => RANKS.indexOf(rank))
    left.splice(ranks.indexOf(Math.min(...ranks)), 1)
  }
  return left
}

/** One line a second, for logs and pipes. */
export function renderLine({ elapsedMs, now, before, plugged, cameraDown }: Moment): string {
  const p50 = latencyQuantile(before, now, 0.5)
  return [
    `${String(Math.floor(elapsedMs / 1000)).padStart(4)} s`,
    `captured ${now.captured}`,
    `detected ${now.detected}`,
    `published ${now.publishedAtLast}`,
    `queued ${now.edge.pending}`,
    `stored ${now.stored}`,
    `latency ${p50 === undefined ? '-' : ms(p50)}`,
    ...(plugged ? [] : ['link unplugged']),
    ...(cameraDown === undefined ? [] : [`no picture: ${cameraDown}`]),
  ].join('  ')
}

export function sparkline(values: readonly number[]): string {
  const highest = Math.max(0, ...values)
  if (highest === 0) return ''
  return values
    .map((value) =>
      value === 0 ? ' ' : BARS[Math.min(BARS.length - 1, Math.floor((value / highest) * (BARS.length - 1)))],
    )
    .join('')
}

function ms(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`
}

function clock(elapsedMs: number): string {
  const seconds = Math.floor(elapsedMs / 1000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

const ELLIPSIS = '…'

/** The end of a long text tells more than its beginning: of a path, say. */
function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${ELLIPSIS}${text.slice(text.length - Math.max(0, width - 1))}`
}

/** Cut to the terminal's width; escape sequences take no room. */
function clip(line: string, columns: number): string {
  const room = columns - 1
  if (stripVTControlCharacters(line).length <= room) return line
  let width = 0
  let out = ''
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences start with one
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    if (part.startsWith('\u001b[')) {
      out += part
      continue
    }
    const left = room - width
    out +=
      part.length < left || left <= 0 ? part.slice(0, Math.max(0, left)) : part.slice(0, left - 1) + ELLIPSIS
    width += part.length
  }
  return out
}
