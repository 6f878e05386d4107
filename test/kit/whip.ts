import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { Registry } from 'prom-client'
import type { Test } from 'tap'
import type { CameraConfig } from '../../device/config.ts'
import { Streams } from '../../device/listen/streams.ts'
import { hashOfKey } from '../../device/listen/streams-file.ts'
import { Whip, type WhipOptions } from '../../device/listen/whip.ts'
import { openSource } from '../../device/sources/open.ts'
import { openLog } from '../../lib/log.ts'
import { UdpRelay } from './udp-relay.ts'

/** A device that is published to over WHIP, without its detector: what its cameras see is noted. */
export interface WhipDevice {
  readonly whip: Whip
  readonly streams: Streams
  readonly metrics: Registry
  /** How many were not let in, by why. */
  readonly refused: Readonly<Record<string, number>>
  readonly keys: Readonly<Record<string, string>>
  readonly endpoint: string
  /** Of each camera: its frames so far, the size of the newest, and how often its source was opened. */
  readonly seen: Readonly<Record<string, { frames: number; sizes: string[]; openings: number }>>
}

export async function openWhipDevice(
  t: Test,
  streams: readonly { readonly name: string; readonly takeOver?: boolean; readonly active?: boolean }[],
  options: Partial<WhipOptions> & { readonly graceMs?: number } = {},
): Promise<WhipDevice> {
  const keys = Object.fromEntries(streams.map(({ name }) => [name, randomBytes(16).toString('base64url')]))
  const file = join(t.testdir(), 'streams.yaml')
  const listed = streams.map((it) => ({ ...it, keyHash: hashOfKey(keys[it.name] ?? '') }))
  writeFileSync(file, JSON.stringify({ streams: listed }))
  const log = openLog('test', process.env.WHIP_TEST_LOG ?? 'silent')
  const door = await Streams.open({ file, taken: new Set(), graceMs: options.graceMs ?? 2000, log })
  t.teardown(() => door[Symbol.asyncDispose]())
  const metrics = new Registry()
  const refused: Record<string, number> = {}
  const whip = await Whip.open({
    host: '127.0.0.1',
    port: 0,
    publicAddresses: [],
    doorkeeper: door,
    metrics,
    refused: (why) => {
      refused[why] = (refused[why] ?? 0) + 1
    },
    log,
    ...options,
  })
  t.teardown(() => whip[Symbol.asyncDispose]())
  const seen: Record<string, { frames: number; sizes: string[]; openings: number }> = {}
  const stop = new AbortController()
  const reading = door.cameras.map((camera) => {
    const its = { frames: 0, sizes: [], openings: 0 }
    seen[camera.name] = its
    return read(camera, door, its, stop.signal)
  })
  t.teardown(async () => {
    stop.abort()
    await Promise.all(reading)
  })
  return { whip, streams: door, metrics, refused, keys, endpoint: `${whip.url}/whip`, seen }
}

async function read(
  camera: CameraConfig,
  streams: Streams,
  seen: { frames: number; sizes: string[]; openings: number },
  signal: AbortSignal,
): Promise<void> {
  const log = openLog('test', process.env.WHIP_TEST_LOG ?? 'silent')
  const events = { skipped: () => {}, damaged: () => {} }
  while (!signal.aborted)
    try {
      await using source = await openSource(
        camera,
        { input: { width: 320, height: 320 }, events, log, streams },
        signal,
      )
      seen.openings += 1
      for await (const frame of source) {
        seen.frames += 1
        const size = `${frame.width}x${frame.height}`
        if (seen.sizes.at(-1) !== size) seen.sizes.push(size)
        frame[Symbol.dispose]()
      }
    } catch (error) {
      if (!signal.aborted) log.error({ error: String(error) }, 'source failed')
    }
}

/** What a page publishes and how. */
export interface Published {
  readonly key: string
  readonly codec?: 'video/H264' | 'video/VP8'
  readonly audio?: boolean
  readonly width?: number
  readonly height?: number
}

/** In a page of the listener's own origin; states are noted in `states`, the publisher is `publisher`. */
export async function publishFrom(page: Page, endpoint: string, published: Published): Promise<void> {
  if (page.url() === 'about:blank') await page.goto(new URL('/', endpoint).href)
  await page.evaluate(`(async () => {
    const { Publisher } = await import('/publish/publisher.js')
    const { key, codec, audio = false, width = 640, height = 480 } = ${JSON.stringify(published)}
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: 30 }, audio })
    globalThis.states = []
    globalThis.publisher = new Publisher({ url: ${JSON.stringify(endpoint)}, key, codec, stream,
      onState: (state) => states.push(state) })
    publisher.start()
  })()`)
}

export const statesOf = (page: Page) =>
  page.evaluate('states') as Promise<{ readonly is: string; readonly why?: string }[]>

/**
 * From now on, what a page publishes goes over a relay, by loopback alone. @returns the relays, one for each session
 */
export async function relayed(t: Test, page: Page): Promise<readonly UdpRelay[]> {
  const relays: UdpRelay[] = []
  await page.exposeFunction('relayTo', async (port: number) => {
    const relay = await UdpRelay.open(t, port)
    relays.push(relay)
    return relay.port
  })
  await page.addInitScript({ content: OVER_RELAY })
  return relays
}

const OVER_RELAY = `
  const { prototype } = RTCPeerConnection
  // Without its own addresses, or the device would find a way past the relay.
  const local = Object.getOwnPropertyDescriptor(prototype, 'localDescription').get
  Object.defineProperty(prototype, 'localDescription', {
    get() {
      const { type, sdp } = local.call(this)
      return { type, sdp: sdp.split('\\r\\n').filter((line) => !line.startsWith('a=candidate:')).join('\\r\\n') }
    },
  })
  const set = prototype.setRemoteDescription
  prototype.setRemoteDescription = async function (description) {
    const lines = description.sdp.split('\\r\\n')
    const own = lines.find((line) => /^a=candidate:.* 127\\.0\\.0\\.1 \\d+ typ host/.test(line)).split(' ')
    own[5] = String(await relayTo(Number(own[5])))
    const sdp = lines.flatMap((line) => (!line.startsWith('a=candidate:') ? [line]
      : line.includes(' 127.0.0.1 ') ? [own.join(' ')] : [])).join('\\r\\n')
    return set.call(this, { type: description.type, sdp })
  }
`
