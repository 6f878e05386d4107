import { z } from 'zod'
import {
  address,
  byteRate,
  commonShape,
  duration,
  httpShape,
  longDuration,
  mutualTlsShape,
  port,
  size,
  timeOfDay,
} from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { isLoopback, refuseOpenHttp } from '../lib/http/server.ts'
import { parseBrokerUrl } from '../lib/mqtt/link.ts'
import { isName } from '../wire/names.ts'
import { filtersOverlap } from '../wire/topics.ts'
import { checkUser, topicPrefixSchema, userShape } from '../wire/users.ts'

const filter = () => z.string().min(1).max(1024)

const bounds = (
  bytes: string,
  entries: number,
  age: string,
  whenFull: 'reject' | 'drop-oldest' = 'reject',
) => ({
  bytesMax: size().prefault(bytes),
  entriesMax: z.number().int().positive().default(entries),
  ageMax: longDuration().prefault(age),
  whenFull: z.enum(['reject', 'drop-oldest']).default(whenFull),
})

const credentials = {
  username: z.string().min(1).optional(),
  password: z.string().min(1).optional(),
  passwordFile: z.string().min(1).optional(),
}

export const brokerSchema = z.strictObject({
  ...commonShape,
  name: z.string().refine(isName, 'must be letters, digits, dash and underscore').default('broker'),
  topicPrefix: topicPrefixSchema(),
  listeners: z
    .array(
      z.strictObject({
        host: z.string().min(1).default('127.0.0.1'),
        port: port().default(1883),
        tls: mutualTlsShape().optional(),
        plaintext: z.boolean().default(false),
      }),
    )
    .min(1)
    .prefault([{}]),
  users: z
    .array(
      z
        .strictObject({
          ...userShape,
          password: z.string().min(1).optional(),
          passwordFile: z.string().min(1).optional(),
        })
        .superRefine(checkUser),
    )
    .default([]),
  usersFile: z.string().min(1).optional(),
  store: z.strictObject({ folder: z.string().min(1).default('data/broker') }).prefault({}),
  queues: z
    .array(
      z.strictObject({
        clientId: z.string().min(1).max(256),
        topics: z.array(filter()).min(1),
        ...bounds('20GB', 1_000_000, '30d'),
        inFlightMax: z.number().int().min(1).max(10_000).default(500),
      }),
    )
    .default([]),
  sessions: z
    .strictObject({
      // A reader that nobody declared and that went away must not stop everyone who publishes.
      ...bounds('1GB', 100_000, '7d', 'drop-oldest'),
      inFlightMax: z.number().int().min(1).max(10_000).default(64),
      countMax: z.number().int().positive().default(10_000),
      subscriptionsMax: z.number().int().positive().default(1000),
    })
    .prefault({}),
  retained: z
    .strictObject({
      entriesMax: z.number().int().positive().default(20_000),
      bytesMax: size().prefault('500MB'),
    })
    .prefault({}),
  bridges: z
    .array(
      z.strictObject({
        name: z.string().refine(isName, 'must be letters, digits, dash and underscore').default('cloud'),
        url: address('mqtts://cloud.example.org:8883', ['mqtt', 'mqtts']),
        ...credentials,
        caFile: z.string().min(1).optional(),
        certFile: z.string().min(1).optional(),
        keyFile: z.string().min(1).optional(),
        clientId: z.string().min(1).max(200).optional(),
        topics: z
          .array(
            z.strictObject({
              filter: filter(),
              direction: z.enum(['up', 'down']).default('up'),
              from: z.string().default(''),
              to: z.string().default(''),
            }),
          )
          .min(1),
        inFlightMax: z.number().int().min(1).max(10_000).default(500),
        keepalive: duration().prefault('30s'),
        connectTimeout: duration().prefault('10s'),
        acknowledgeTimeout: duration().prefault('30s'),
        reconnectMin: duration().prefault('200ms'),
        reconnectMax: duration().prefault('30s'),
        ...bounds('20GB', 1_000_000, '30d'),
        // Full, it refuses: what stands in the queue then stays there, and nothing is lost.
        quarantine: z.strictObject(bounds('1GB', 10_000, '30d')).prefault({}),
        /** What is bulky, where a filter matches it: its own connection, queue and quarantine. */
        clips: z
          .strictObject({
            rateMax: byteRate().prefault('unlimited'),
            schedule: z
              .array(
                z
                  .strictObject({ from: timeOfDay(), to: timeOfDay(), rateMax: byteRate() })
                  .refine(({ from, to }) => from !== to, {
                    path: ['to'],
                    error: 'must be another time than "from"',
                  }),
              )
              .max(48)
              .default([]),
            ...bounds('20GB', 1_000_000, '30d'),
            quarantine: z.strictObject(bounds('1GB', 1000, '30d')).prefault({}),
          })
          .prefault({}),
        mqttVersion: z.union([z.literal(4), z.literal(5)]).default(4),
      }),
    )
    .default([]),
  /** Where absent: what is kept (wire/kinds.ts), under `topicPrefix`. */
  mustBeKept: z.array(filter()).optional(),
  limits: z
    .strictObject({
      connectionsMax: z.number().int().positive().default(2000),
      connectionsPerAddressMax: z.number().int().positive().default(1000),
      connectTimeout: duration().prefault('10s'),
      packetsPerSecondMax: z.number().int().positive().default(10_000),
      bytesPerSecondMax: size().prefault('200MB'),
      packetMax: size().prefault('16MB'),
      clientIdBytesMax: z.number().int().min(23).max(1024).default(256),
      topicBytesMax: z.number().int().min(64).max(1024).default(512),
      slowReaderMax: size().prefault('8MB'),
    })
    .prefault({}),
  http: httpShape(9102),
})

export type BrokerConfig = z.output<typeof brokerSchema>

/** What the schema alone cannot see. Errors: CONFIG_UNSAFE_LISTENER, CONFIG_INVALID. */
export function checkBrokerConfig(config: BrokerConfig): void {
  const hasUsers = config.users.length > 0 || config.usersFile !== undefined
  for (const { host, port, tls, plaintext } of config.listeners) {
    if (!isLoopback(host) && !hasUsers) {
      throw failure(
        'CONFIG_UNSAFE_LISTENER',
        `"listeners" opens ${host}:${port} to other machines, but "users" is empty and "usersFile" is missing: anyone could read and write everything. Add users, or listen on 127.0.0.1.`,
      )
    }
    if (!isLoopback(host) && !tls && !plaintext) {
      throw failure(
        'CONFIG_UNSAFE_LISTENER',
        `"listeners" opens ${host}:${port} without TLS: passwords and faces would cross the network unencrypted. Set "tls" (sightline certs makes the files), or "plaintext: true" if you accept that.`,
      )
    }
    if (tls && plaintext) {
      throw failure(
        'CONFIG_INVALID',
        `The listener ${host}:${port} has "tls" and "plaintext: true". Keep one.`,
      )
    }
    if (tls?.clientCaFile !== undefined && !hasUsers) {
      throw failure(
        'CONFIG_INVALID',
        `The listener ${host}:${port} requires client certificates, but "users" is empty and "usersFile" is missing: no client could connect. Add a user for each certificate.`,
      )
    }
  }
  refuseOpenHttp(config.http)
  const byCertificate = config.listeners.some(({ tls }) => tls?.clientCaFile !== undefined)
  const open = config.users.find(
    ({ password, passwordFile }) => !byCertificate && password === undefined && passwordFile === undefined,
  )
  if (open)
    throw failure(
      'CONFIG_INVALID',
      `User "${open.name}" has neither "password" nor "passwordFile": anyone could connect under that name. Set one, or require client certificates ("tls.clientCaFile").`,
    )
  for (const bridge of config.bridges) {
    const remote = parseBrokerUrl(bridge.url)
    for (const listener of config.listeners) {
      if (remote.port === listener.port && isLoopback(remote.host) && listener.port !== 0) {
        throw failure(
          'CONFIG_INVALID',
          `The bridge "${bridge.name}" points at this broker itself (${bridge.url}). Correct its "url": it must be another broker.`,
        )
      }
    }
    for (const { filter, from, direction } of bridge.topics) {
      const both = bridge.topics.find((it) => it.direction !== direction && filtersOverlap(it.filter, filter))
      if (both)
        throw failure(
          'CONFIG_INVALID',
          `The bridge "${bridge.name}" sends some topics both up and down ("${filter}" and "${both.filter}"): they would loop. Send each topic one way.`,
        )
      if (from !== '' && filter !== from && !filter.startsWith(`${from}/`)) {
        throw failure(
          'CONFIG_INVALID',
          `The bridge "${bridge.name}" maps "${from}", but its filter "${filter}" matches other topics too. Start the filter with "${from}/".`,
        )
      }
    }
  }
  for (const [what, names] of [
    ['bridges', config.bridges.map(({ name }) => name)],
    ['queues', config.queues.map(({ clientId }) => clientId)],
    ['users', config.users.map(({ name }) => name)],
  ] as const) {
    const twice = names.find((name, at) => names.indexOf(name) !== at)
    if (twice !== undefined)
      throw failure('CONFIG_INVALID', `Duplicate name "${twice}" under "${what}". Each needs its own name.`)
  }
}
