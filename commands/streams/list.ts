import { readSeen, type SeenStream } from '../../device/listen/seen.ts'
import { readStreams, type Stream } from '../../device/listen/streams-file.ts'
import { ago, inOneLine, table } from '../../lib/table.ts'

/** What was seen is older than this: the device that wrote it has stopped, or cannot write, ms. */
const SEEN_MS_MAX = 30_000

const NEVER: SeenStream = { lastUsedMs: null, from: null, live: null }

/** @returns a table, or a line of JSON for each stream; without the hashes. Errors: those of readStreams */
export function listStreams(file: string, json: boolean, nowMs: number): string {
  const streams = readStreams(file)
  const seen = readSeen(file)
  const isFresh = seen !== undefined && nowMs - seen.atMs < SEEN_MS_MAX
  const seenOf = (name: string): SeenStream => {
    const { lastUsedMs, from, live } = seen?.streams[name] ?? NEVER
    return { lastUsedMs, from, live: isFresh ? live : null }
  }
  if (json)
    return streams
      .map(({ name, owner, active, takeOver, created }) => {
        const line = { name, owner, active, takeOver, created, ...seenOf(name) }
        return `${JSON.stringify(line)}\n`
      })
      .join('')
  if (streams.length === 0) return `${file} contains no streams.\n`
  const head = ['name', 'owner', 'key', 'last used', 'from', 'live since', 'bitrate', 'codec', 'size']
  return table([head, ...streams.map((stream) => rowOf(stream, seenOf(stream.name), nowMs))])
}

function rowOf(stream: Stream, { lastUsedMs, from, live }: SeenStream, nowMs: number): string[] {
  const since = (ms: number) => `${ago(nowMs - ms)} ago`
  return [
    stream.name,
    inOneLine(stream.owner ?? '-'),
    stream.active ? 'active' : 'deactivated',
    lastUsedMs === null ? 'never' : since(lastUsedMs),
    inOneLine(from ?? '-'),
    live ? `${ago(nowMs - live.sinceMs)} (${live.by})` : '-',
    live ? `${Math.round(live.bitsPerSecond / 1000)} kbit/s` : '-',
    inOneLine([live?.codec, live?.audio].filter((it) => it).join(' + ') || '-'),
    live?.frame ? live.frame.join(' x ') : '-',
  ]
}
