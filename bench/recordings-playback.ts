import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Decoder, Demuxer } from 'node-av/api'
import { Registry } from 'prom-client'
import { Access } from '../console/access/access.ts'
import { consoleApi } from '../console/api/server.ts'
import { consoleSchema } from '../console/config.ts'
import type { Context } from '../console/context.ts'
import { Database } from '../console/database/database.ts'
import { FolderBucket } from '../lib/buckets/folder.ts'
import { HttpServer } from '../lib/http/server.ts'
import { openLog } from '../lib/log.ts'
import { makeRealClips } from '../test/kit/real-clips.ts'
import { readClip, writeClip } from '../wire/clip.ts'
import { idMinter } from '../wire/id.ts'
import { CLIP } from '../wire/kinds.ts'
import { objectKey } from '../wire/object-key.ts'
import type { StoredClip } from '../wire/stored.ts'
import { quantile } from './stacks.ts'

/**
 * Playback at a random point of a day of chunks: playlist of an hour, beginning and first chunk over HTTP, until its first
 * picture is decoded. And the timeline of that day. API, database and bucket are the console's; in one process, so that what
 * is measured is theirs.
 */
const CHUNK_MS = 3000
const DAY_MS = 86_400_000
const RUN_TOKEN = 'recordings-playback'
const BATCH = 500

export interface RecordingsResult {
  readonly chunks: number
  readonly points: number
  readonly playlistP50Ms: number
  readonly startP50Ms: number
  readonly startP95Ms: number
  readonly timelineP50Ms: number
  readonly timelineP95Ms: number
  readonly timelineBytes: number
}

export async function benchRecordings(chunks = DAY_MS / CHUNK_MS, points = 100): Promise<RecordingsResult> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'sightline-bench-'))
  stack.defer(() => rm(folder, { recursive: true }))
  const config = consoleSchema.parse({ limits: { requestsPerMinuteMax: 1_000_000 } })
  const log = openLog('bench', 'silent')
  const database = stack.use(await Database.open({ type: 'sqlite', file: join(folder, 'console.sqlite') }))
  const bucket = stack.use(await FolderBucket.open({ path: join(folder, 'bucket') }))
  const startMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS
  await fill(database, bucket, startMs, chunks)
  const access = stack.use(await Access.open({ config, database, log, runToken: RUN_TOKEN }))
  const absent = {} as Omit<Context, 'config' | 'log' | 'database' | 'bucket' | 'access'>
  const context: Context = { ...absent, config, log, database, bucket, access }
  const http = stack.use(
    await HttpServer.open({
      host: '127.0.0.1',
      port: 0,
      metrics: new Registry(),
      health: () => ({ ok: true, checks: {} }),
      ownLogin: async () => false,
      routes: (app) => consoleApi(app, context),
    }),
  )
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${http.url}${path}`, {
      headers: { authorization: `Bearer ${RUN_TOKEN}`, ...headers },
    })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return Buffer.from(await answer.arrayBuffer())
  }
  const spanMs = chunks * CHUNK_MS
  const playlists: number[] = []
  const starts: number[] = []
  for (let n = 0; n < points; n += 1) {
    const fromMs = Math.floor(startMs + Math.random() * (spanMs - CHUNK_MS))
    const began = performance.now()
    const text = (await get(`/api/v1/playlist.m3u8?camera=home/pi/gate&from=${fromMs}`)).toString()
    playlists.push(performance.now() - began)
    const range = (bytes = '') => {
      const [length = 0, at = 0] = bytes.split('@').map(Number)
      return { range: `bytes=${at}-${at + length - 1}` }
    }
    const map = /#EXT-X-MAP:URI="([^"]+)",BYTERANGE="([^"]+)"/.exec(text)
    const first = /#EXT-X-BYTERANGE:(\S+)\n(\S+)/.exec(text)
    const video = Buffer.concat([
      await get(map?.[1] ?? '', range(map?.[2])),
      await get(first?.[2] ?? '', range(first?.[1])),
    ])
    await firstPicture(join(folder, 'first.mp4'), video)
    starts.push(performance.now() - began)
  }
  const timelines: number[] = []
  let timelineBytes = 0
  for (let n = 0; n < 20; n += 1) {
    const began = performance.now()
    const answer = await get(`/api/v1/timeline?camera=home/pi/gate&from=${startMs}&to=${startMs + DAY_MS}`)
    timelines.push(performance.now() - began)
    timelineBytes = answer.length
  }
  for (const times of [playlists, starts, timelines]) times.sort((a, b) => a - b)
  return {
    chunks,
    points,
    playlistP50Ms: quantile(playlists, 0.5),
    startP50Ms: quantile(starts, 0.5),
    startP95Ms: quantile(starts, 0.95),
    timelineP50Ms: quantile(timelines, 0.5),
    timelineP95Ms: quantile(timelines, 0.95),
    timelineBytes,
  }
}

/** Ten real chunks, over and over: each with an id and times of its own, as it would be of a camera. */
async function fill(
  database: Database,
  bucket: FolderBucket,
  startMs: number,
  chunks: number,
): Promise<void> {
  const made = await makeRealClips({
    ...{ site: 'home', device: 'pi', camera: 'gate' },
    ...{ startMs, chunks: 10, chunkMs: CHUNK_MS },
  })
  let atMs = startMs
  const mint = idMinter(() => atMs)
  for (let from = 0; from < chunks; from += BATCH) {
    const stored: StoredClip[] = []
    for (let n = from; n < Math.min(chunks, from + BATCH); n += 1) {
      const { metadata, payload } = made[n % made.length] as (typeof made)[number]
      atMs = startMs + n * CHUNK_MS
      const own = {
        ...metadata,
        ...{ id: mint(), capturedAtMs: atMs, endMs: atMs + CHUNK_MS, sequence: n },
        ...{ motion: (n % 100) / 100, faces: n % 3 },
      }
      const init = payload.subarray(0, metadata.initBytes)
      const body = writeClip(init, [payload.subarray(payload.indexOf('moof') - 4)], own)
      const reading = readClip(body)
      if (!('clip' in reading)) throw new Error(reading.detail)
      const { v, ...rest } = reading.clip
      const key = objectKey(own, atMs, CLIP)
      await bucket.create({ key, body, contentType: CLIP.mediaType, cacheControl: '' })
      stored.push({
        ...rest,
        ...{ v: 1, is: 'stored', kind: 'clip', key, filedAtMs: atMs, storedAtMs: atMs + CHUNK_MS },
        bytes: body.length,
        sha256: createHash('sha256').update(body).digest('hex'),
      })
    }
    await database.apply(stored, 'cloud')
  }
}

async function firstPicture(file: string, video: Buffer): Promise<void> {
  await writeFile(file, video)
  await using demuxer = await Demuxer.open(file)
  const stream = demuxer.video()
  if (!stream) throw new Error('no video in what was fetched')
  using decoder = await Decoder.create(stream)
  for await (using frame of decoder.frames(demuxer.packets(stream.index))) if (frame) return
  throw new Error('nothing could be decoded')
}

export function printRecordings(result: RecordingsResult): void {
  const ms = (value: number) => `${value.toFixed(0)} ms`
  process.stdout.write(`
Recordings: a camera with ${result.chunks} chunks of ${CHUNK_MS / 1000} s, ${result.points} random points

  playlist of an hour           p50 ${ms(result.playlistP50Ms)}
  until the first picture       p50 ${ms(result.startP50Ms)}   p95 ${ms(result.startP95Ms)}   (bar: p95 1000 ms)
  timeline of the day           p50 ${ms(result.timelineP50Ms)}   p95 ${ms(result.timelineP95Ms)}   ${(result.timelineBytes / 1000).toFixed(0)} KB before compression
`)
}
