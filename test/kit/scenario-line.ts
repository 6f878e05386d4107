import { join } from 'node:path'
import { desiredTopic, reportedTopic } from '../../wire/desired.ts'
import { KINDS, keptFilters } from '../../wire/kinds.ts'
import {
  commandFilter,
  eventTopic,
  TOPIC_PREFIX_DEFAULT as PREFIX,
  stateTopic,
  statusTopic,
} from '../../wire/topics.ts'
import {
  bridgeConfig,
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  Program,
  RUN_TOKEN,
  subscriberConfig,
  type Test,
  temporaryFolder,
} from './programs.ts'

/** The whole line with a console that orchestrates it: agent, edge broker, bridge, cloud broker, subscriber, bucket, console. */

export const DEVICE = { site: 'lab', device: 'bench1' }
const ANY = { site: '+', device: '+', camera: '+' }

export interface ScenarioLine {
  readonly cloud: Program
  readonly edge: Program
  readonly subscriber: Program
  readonly console: Program
  readonly api: ConsoleApi
  readonly bucket: string
}

/** All but the agent (`deviceConfigAt`). */
export async function openScenarioLine(t: Test): Promise<ScenarioLine> {
  const crops = keptFilters(
    PREFIX,
    KINDS.filter(({ bulky }) => !bulky),
  )
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'cloud',
      mustBeKept: crops,
      queues: [
        { clientId: 'sightline-subscriber', topics: crops },
        { clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] },
      ],
    }),
  )
  const up = [...crops, eventTopic(PREFIX, ANY), stateTopic(PREFIX, ANY), statusTopic(PREFIX, ANY)]
  const down = [commandFilter(PREFIX, ANY), desiredTopic(PREFIX, ANY)]
  const topics = [
    ...[...up, reportedTopic(PREFIX, ANY)].map((filter) => ({ filter })),
    ...down.map((filter) => ({ filter, direction: 'down' })),
  ]
  const folder = temporaryFolder(t)
  const bucket = join(folder, 'bucket')
  const [edge, subscriber, console] = await Promise.all([
    Program.start(
      t,
      'broker',
      brokerConfig(t, { name: 'edge', mustBeKept: crops, bridges: [bridgeConfig(cloud.url, { topics })] }),
    ),
    Program.start(
      t,
      'subscriber',
      subscriberConfig(t, cloud.url, {
        bucket: { type: 'folder', path: bucket },
        announce: { enabled: true },
        recordings: { enabled: false },
      }),
    ),
    Program.start(
      t,
      'console',
      consoleConfig(t, cloud.url, {
        bucket: { type: 'folder', path: bucket },
        notices: { allow: ['127.0.0.1'] },
      }),
      { env: consoleEnvironment },
    ),
  ])
  return { cloud, edge, subscriber, console, api: new ConsoleApi(console), bucket }
}

/** An agent's configuration at the edge of such a line, with one camera. */
export function deviceConfigAt(
  t: Test,
  url: string,
  source: Readonly<Record<string, unknown>>,
  settings: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const folder = temporaryFolder(t)
  return {
    ...DEVICE,
    cameras: [{ name: 'door', ...source }],
    broker: { url, backoff: { min: '50ms', max: '200ms' } },
    remote: { folder },
    outbox: { folder: join(folder, 'outbox') },
    report: { enabled: false },
    http: { port: 0 },
    ...settings,
  }
}

/** What a document is answered with, as far as it is used here. */
export interface Answered {
  readonly id: string
  readonly revision: number
  readonly state: string
  readonly document: Record<string, unknown>
}

/** The console's API, as an admin. Errors: what the console answers, with its status. */
export class ConsoleApi {
  readonly #console: Program

  constructor(console: Program) {
    this.#console = console
  }

  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.#console.http}/api/v1/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${RUN_TOKEN}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return (text === '' ? undefined : JSON.parse(text)) as T
  }

  get<T>(path: string): Promise<T> {
    return this.ask('GET', path)
  }

  addChannel(document: Readonly<Record<string, unknown>>): Promise<Answered> {
    return this.ask('POST', 'channels', { document })
  }

  /** Saves it and publishes it. */
  async addScenario(document: Readonly<Record<string, unknown>>): Promise<Answered> {
    const { id } = await this.ask<Answered>('POST', 'scenarios', { document })
    return this.ask('POST', `scenarios/${id}/publish`)
  }
}
