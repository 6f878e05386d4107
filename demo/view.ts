import { styleText } from 'node:util'
import { latencyQuantile, type Readings } from './readings.ts'

export interface Scene {
  readonly source: string
  readonly gallery: string
  readonly data: string
  readonly keepsData: boolean
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

/** The live view: lines of text for a terminal of so many columns. Pure. */
export function render(moment: Moment, columns: number): string[] {
  const { scene, now, before, plugged, note, sourceEnded } = moment
  const rate = (select: (readings: Readings) => number) => {
    if (!before || now.atMs <= before.atMs) return ''
    return `${((Math.max(0, select(now) - select(before)) / (now.atMs - before.atMs)) * 1000).toFixed(1)}/s`
  }
  const row = (name: string, ok: boolean, what: string, value: number, pace: string, rest: string) =>
    `  ${ok ? good('●') : bad('●')} ${name.padEnd(13)} ${dim(what.padEnd(9))} ${bold(count(value).padStart(9))} ${dim(pace.padStart(9))}   ${rest}`
  const waiting = (label: string, value: number) => `${dim(label)} ${value > 0 ? bold(count(value)) : '0'}`
  const p50 = latencyQuantile(before, now, 0.5)
  const p99 = latencyQuantile(before, now, 0.99)
  const lines = [
    '',
    `  ${bold('Sightline')}  ${dim('faces from camera to bucket, nothing lost on the way')}`,
    `  ${dim(`${scene.source}  ·  ${scene.model}  ·  ${clock(moment.elapsedMs)}`)}`,
    '',
    row(
      'camera',
      !sourceEnded,
      'captured',
      now.captured,
      rate(({ captured }) => captured),
      sourceEnded ? 'the source has ended' : now.skipped > 0 ? `${dim('skipped')} ${count(now.skipped)}` : '',
    ),
    row(
      'faces',
      true,
      'detected',
      now.detected,
      rate(({ detected }) => detected),
      '',
    ),
    row(
      'agent',
      true,
      'published',
      now.published,
      rate(({ published }) => published),
      `${waiting('waiting', now.waiting)}${now.droppedByAgent > 0 ? `  ${dim('dropped')} ${count(now.droppedByAgent)}` : ''}`,
    ),
    row(
      'edge broker',
      now.linkUp,
      'handed on',
      now.edge.forwarded,
      rate(({ edge }) => edge.forwarded),
      `${waiting('queued', now.edge.pending)}  ${sparkline(moment.edgeHistory)}`,
    ),
    row(
      'cloud broker',
      true,
      'handed on',
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
    '',
    `  ${dim('frame to object')}   ${p50 === undefined ? dim('nothing stored in the last seconds') : `half within ${bold(ms(p50))}, 99 of 100 within ${bold(ms(p99 ?? p50))}`}`,
    `  ${dim('link to cloud  ')}   ${plugged ? (now.linkUp ? good('connected') : bad('connecting again ...')) : bad('unplugged: crops wait at the edge, on disk')}`,
    '',
    `  ${dim('Gallery')}   ${bold(scene.gallery)}`,
    `  ${dim('Data')}      ${scene.data}${scene.keepsData ? '' : dim('  (removed at the end; --data DIR keeps it)')}`,
    '',
    `  ${note ?? `${bold('u')} ${plugged ? 'unplug the link to the cloud' : 'plug the link in again'}     ${bold('q')} quit and sum up the books`}`,
    `  ${dim('Next: sightline demo --source FILE, FOLDER, rtsp://... or /dev/video0')}`,
    '',
  ]
  return lines.map((line) => clip(line, columns))
}

/** One line a second, for logs and pipes. */
export function renderLine({ elapsedMs, now, before, plugged }: Moment): string {
  const p50 = latencyQuantile(before, now, 0.5)
  return [
    `${(elapsedMs / 1000).toFixed(0).padStart(4)} s`,
    `captured ${now.captured}`,
    `detected ${now.detected}`,
    `published ${now.published}`,
    `queued ${now.edge.pending}`,
    `stored ${now.stored}`,
    `latency ${p50 === undefined ? '-' : ms(p50)}`,
    ...(plugged ? [] : ['link unplugged']),
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

/** Cut to the terminal's width; escape sequences take no room. */
function clip(line: string, columns: number): string {
  let width = 0
  let out = ''
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences start with one
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    if (part.startsWith('\u001b[')) {
      out += part
      continue
    }
    const room = Math.max(0, columns - 1 - width)
    out += part.slice(0, room)
    width += part.length
  }
  return out
}
