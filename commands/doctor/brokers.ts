import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { BrokerConfig } from '../../broker/config.ts'
import type { SubscriberConfig } from '../../cloud-subscriber/config.ts'
import type { ConsoleConfig } from '../../console/config.ts'
import type { DeviceConfig } from '../../device/config.ts'
import { readSecret } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { type LinkOptions, MqttLink, parseBrokerUrl } from '../../lib/mqtt/link.ts'
import { keeperTopic } from '../../wire/keepers.ts'
import { KINDS, keptTopic } from '../../wire/kinds.ts'
import { storedTopic } from '../../wire/stored.ts'
import { eventTopic } from '../../wire/topics.ts'
import { credentialsOf } from './files.ts'
import { type Finding, failed, ok, skip, timed } from './finding.ts'

/** Brokers that a configuration names, reached with its own credentials, under a client id that nobody else has. */

export const BROKER_MS_MAX = 25_000
const CONNECT_MS_MAX = 10_000
const ANSWER_MS_MAX = 10_000
const ROUND_TRIPS = 5
const ROUND_TRIP_MS_MAX = 1000

interface Remote {
  readonly url: string
  readonly username?: string
  readonly password?: string
  readonly passwordFile?: string
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
}

/** An event of a camera that no device has: the device's user may send it, and nobody waits for it. */
export function checkDeviceBroker(config: DeviceConfig, signal: AbortSignal): Promise<Finding[]> {
  const { broker, topicPrefix, site, device } = config
  const topic = eventTopic(topicPrefix, { site, device, camera: 'doctor' })
  return tryBroker('broker', '"broker"', broker, 4, signal, async (link) => {
    const acknowledged = once(link, 'puback', {
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
    })
    const ended = once(link, 'close').then(() => {
      throw failure(
        'BROKER_REFUSED',
        `${broker.url} closed the connection after a message to ${topic}. Give the user the role device, with this site and device, or the right to publish there; see the broker's log.`,
      )
    })
    ended.catch(() => {})
    const { value, ms } = await timed(() => {
      link.publish({ topic, payload: Buffer.from('{"v":1}'), messageId: 1, dup: false })
      return Promise.race([acknowledged, ended])
    })
    const [, code] = value as [number, number]
    if (code >= 0x80)
      throw failure(
        'BROKER_REFUSED',
        `${broker.url} refuses a message to ${topic} (reason code ${code}). Give the user the right to publish there.`,
      )
    return `PUBACK after ${ms} ms`
  })
}

/** Subscriptions to topics that the filters cover and no device has: nothing comes, and no session stays. */
export function checkSubscriberBroker(config: SubscriberConfig, signal: AbortSignal): Promise<Finding[]> {
  const { broker, topicPrefix } = config
  const nobody = { site: ownId(), device: 'doctor', camera: 'doctor' }
  const kinds = config.recordings.enabled ? KINDS : KINDS.filter(({ bulky }) => !bulky)
  return tryBroker('broker', '"broker"', broker, broker.mqttVersion, signal, async (link) => {
    const { ms } = await timed(async () => {
      for (const kind of kinds) await link.subscribe(keptTopic(topicPrefix, kind, nobody), 1)
    })
    return `SUBACK after ${ms} ms`
  })
}

/** The same: of announcements, and of programs' reports. */
export function checkConsoleBroker(config: ConsoleConfig, signal: AbortSignal): Promise<Finding[]> {
  const { broker, topicPrefix } = config
  const nobody = ownId()
  return tryBroker('broker', '"broker"', broker, 4, signal, async (link) => {
    const { ms } = await timed(() => link.subscribe(storedTopic(topicPrefix, nobody), 1))
    await link.subscribe(keeperTopic(topicPrefix, nobody), 1)
    return `SUBACK after ${ms} ms`
  })
}

/** A connection alone: what a bridge sends, the other broker hands on. */
export function checkBridge(
  bridge: BrokerConfig['bridges'][number],
  signal: AbortSignal,
): Promise<Finding[]> {
  const owner = `bridge "${bridge.name}"`
  return tryBroker(`bridge ${bridge.name}`, owner, bridge, bridge.mqttVersion, signal, async () => undefined)
}

async function tryBroker(
  what: string,
  owner: string,
  remote: Remote,
  protocol: LinkOptions['protocol'],
  signal: AbortSignal,
  use: (link: MqttLink) => Promise<string | undefined>,
): Promise<Finding[]> {
  const { url, username } = remote
  if (/^wss?:/.test(url)) return [skip(what, `${url}: MQTT over WebSocket is not tested`)]
  const user = username === undefined ? '' : ` as "${username}"`
  try {
    const { host, port } = parseBrokerUrl(url)
    const options: LinkOptions = {
      url,
      clientId: ownId(),
      protocol,
      clean: true,
      packetBytesMax: 1024 * 1024,
      keepaliveS: 30,
      connectMsMax: CONNECT_MS_MAX,
      username,
      password: readSecret(owner, remote),
      credentials: () => credentialsOf(remote),
    }
    const { value: opened, ms } = await timed(() => MqttLink.open(options, signal))
    await using link = opened
    const used = await use(link)
    const roundTripMs = await roundTrip(host, port)
    const times = [
      ...(roundTripMs === undefined ? [] : [`round trip ${roundTripMs} ms`]),
      `CONNACK after ${ms} ms`,
      ...(used === undefined ? [] : [used]),
    ]
    return [ok(what, `${url}${user}: ${times.join(', ')}`)]
  } catch (error) {
    return [
      failed(
        what,
        error,
        `Compare ${owner} in the configuration with the users and the access rules of ${url}.`,
      ),
    ]
  }
}

/**
 * What opening a TCP connection takes, ms: one round trip. The least of some, since other checks keep this thread busy.
 * Undefined where none opens: a proxy that counts connections, perhaps.
 */
async function roundTrip(host: string, port: number): Promise<number | undefined> {
  let least: number | undefined
  for (let attempt = 0; attempt < ROUND_TRIPS; attempt += 1) {
    const socket = connect({ host, port })
    try {
      const startMs = performance.now()
      await once(socket, 'connect', { signal: AbortSignal.timeout(ROUND_TRIP_MS_MAX) })
      least = Math.min(least ?? Number.POSITIVE_INFINITY, performance.now() - startMs)
    } catch {
      break
    } finally {
      socket.destroy()
    }
  }
  return least === undefined ? undefined : Math.round(least * 10) / 10
}

const ownId = () => `doctor-${randomBytes(5).toString('hex')}`
