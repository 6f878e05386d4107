import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink, type ReceivedPublish } from '../lib/mqtt/link.ts'
import {
  DESIRED_VERSION,
  type Desired,
  type DesiredContent,
  desiredContentSchema,
  desiredSchema,
  desiredTopic,
  digestOf,
  type Reported,
  reportedTopic,
} from '../wire/desired.ts'
import { TOPIC_PREFIX_DEFAULT as PREFIX, statusTopic } from '../wire/topics.ts'

/**
 * A device without a camera, which does with desired configurations what an agent does (wire/desired.ts): takes what is its
 * own, whole and newer, tries it, one setting after the other, and says what holds. Its effective settings are the copy that
 * it changes step by step, so that a mixture would show.
 */
export interface SimulatedDeviceOptions {
  readonly url: string
  readonly site: string
  readonly device: string
  /** How long it takes to try one camera, ms. */
  readonly tryMs: number
}

type Cameras = NonNullable<DesiredContent['cameras']>

const RECONNECT_MS = 100
const CONNECT_MS_MAX = 10_000
const FROM_FILE: Cameras = { door: {}, yard: {} }

export class SimulatedDevice implements AsyncDisposable {
  readonly site: string
  readonly device: string
  readonly #options: SimulatedDeviceOptions
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #applied: { version: number; digest: string; atMs: number } | null = null
  #detect: DesiredContent['detect'] = {}
  #cameras: Cameras = FROM_FILE
  #link: MqttLink | undefined
  #messageId = 0
  /** One after the other. */
  #work: Promise<void> = Promise.resolve()
  #isAway = false
  #onBack: (() => void) | undefined
  /** What came, in the order it came: versions. */
  readonly heard: number[] = []

  constructor(options: SimulatedDeviceOptions) {
    this.#options = options
    this.site = options.site
    this.device = options.device
    this.#running = this.#run()
  }

  get connected(): boolean {
    return this.#link !== undefined
  }

  /** As a power cut would; what it has applied it keeps. */
  leave(): void {
    this.#isAway = true
    this.#link?.destroy()
  }

  comeBack(): void {
    this.#isAway = false
    this.#onBack?.()
  }

  async #run(): Promise<void> {
    const { url, site, device } = this.#options
    const { signal } = this.#abort
    signal.addEventListener('abort', () => this.#onBack?.(), { once: true })
    while (!signal.aborted) {
      if (this.#isAway) {
        await new Promise<void>((resolve) => {
          this.#onBack = resolve
        })
        continue
      }
      try {
        await using link = await MqttLink.open(
          {
            url,
            clientId: `sightline-device-${site}-${device}`,
            protocol: 4,
            clean: false,
            packetBytesMax: 1024 * 1024,
            keepaliveS: 30,
            connectMsMax: CONNECT_MS_MAX,
          },
          signal,
        )
        const ended = new Promise<void>((resolve) => link.once('close', () => resolve()))
        signal.addEventListener('abort', () => link.destroy(), { once: true })
        link.on('publish', (packet) => this.#receive(link, packet))
        await link.subscribe(desiredTopic(PREFIX, this.#options), 1)
        this.#link = link
        this.#keep(link, statusTopic(PREFIX, this.#options), { v: 1, state: 'online' })
        this.#report(this.#applied === null ? 'none' : 'applied', null)
        await ended
      } catch {
        // its broker is away
      }
      this.#link = undefined
      await sleep(RECONNECT_MS)
    }
  }

  #receive(link: MqttLink, { payload, messageId }: ReceivedPublish): void {
    this.#work = this.#work.then(async () => {
      await this.#take(payload)
      if (messageId !== undefined && !link.closed) link.puback(messageId)
    })
  }

  async #take(payload: Buffer): Promise<void> {
    const parsed = readDesired(payload)
    if (!parsed) {
      this.#report('refused', { code: 'DESIRED_INVALID', message: 'No desired configuration.', path: [] })
      return
    }
    const { site, device, version, digest } = parsed
    this.heard.push(version)
    if (version < (this.#applied?.version ?? 0)) return
    const refuse = (code: string, message: string, path: (string | number)[] = []) =>
      this.#report('refused', { code, message, path }, version)
    if (site !== this.site || device !== this.device) refuse('DESIRED_FOREIGN', 'It is for another device.')
    else if (digestOf(parsed.content) !== digest) refuse('DESIRED_DIGEST', 'The content has another digest.')
    else if (this.#applied?.digest === digest && this.#applied.version === version)
      this.#report('applied', null)
    else {
      const content = desiredContentSchema.safeParse(parsed.content)
      if (!content.success) {
        const [issue] = content.error.issues
        refuse('DESIRED_INVALID', issue?.message ?? '', (issue?.path ?? []) as (string | number)[])
        return
      }
      await this.#apply(parsed, content.data)
    }
  }

  async #apply({ version, digest }: Desired, content: DesiredContent): Promise<void> {
    const cameras: Cameras = { ...FROM_FILE }
    for (const [name, settings] of Object.entries(content.cameras ?? {})) {
      await sleep(this.#options.tryMs)
      cameras[name] = settings
    }
    this.#cameras = cameras
    this.#detect = content.detect ?? {}
    this.#applied = { version, digest, atMs: Date.now() }
    this.#report('applied', null)
  }

  #report(state: Reported['state'], refused: Reported['refused'], version?: number): void {
    const link = this.#link
    if (!link) return
    const reported: Reported = {
      v: DESIRED_VERSION,
      site: this.site,
      device: this.device,
      atMs: Date.now(),
      program: 'simulated',
      understands: DESIRED_VERSION,
      applied: this.#applied,
      state,
      ...(version === undefined ? {} : { version }),
      refused,
      allows: { cameras: true, streams: true, networks: [], signed: false },
      effective: {
        detect: { model: 'yunet', ...this.#detect },
        cameras: Object.fromEntries(
          Object.entries(this.#cameras).map(([name, settings]) => [
            name,
            { source: 'testcard', ...settings, from: name in FROM_FILE ? 'file' : 'desired' } as const,
          ]),
        ),
      },
    }
    this.#keep(link, reportedTopic(PREFIX, this.#options), reported)
  }

  #keep(link: MqttLink, topic: string, message: object): void {
    this.#messageId = (this.#messageId % 65_535) + 1
    const payload = Buffer.from(JSON.stringify(message))
    link.publish({ topic, payload, messageId: this.#messageId, dup: false, retain: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#running
    await this.#work
  }
}

function readDesired(payload: Buffer): Desired | undefined {
  try {
    return desiredSchema.parse(JSON.parse(payload.toString()))
  } catch {
    return undefined
  }
}
