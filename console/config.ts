import { z } from 'zod'
import { bucketShape } from '../lib/buckets/config.ts'
import {
  address,
  brokerClientShape,
  commonShape,
  duration,
  httpShape,
  longDuration,
  size,
} from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { isLoopback } from '../lib/http/server.ts'
import { isAllowable } from '../lib/networks.ts'
import { isName } from '../wire/names.ts'
import { PERSON_ROLES, topicPrefixSchema } from '../wire/users.ts'

const webAddress = () => address('https://console.example.org', ['https', 'http'])
const count = (fallback: number, max: number) => z.number().int().min(1).max(max).default(fallback)

export const consoleSchema = z.strictObject({
  ...commonShape,
  name: z.string().refine(isName, 'must be letters, digits, dash and underscore').default('console'),
  topicPrefix: topicPrefixSchema(),
  broker: z.strictObject(brokerClientShape('sightline-console')).prefault({}),
  inbox: z
    .strictObject({
      folder: z.string().min(1).default('data/console'),
      bytesMax: size().prefault('1GB'),
      entriesMax: z.number().int().positive().default(100_000),
    })
    .prefault({}),
  database: z
    .discriminatedUnion('type', [
      z.strictObject({
        // Optional as well, so that the kind is found where "type" is left out.
        type: z.literal('sqlite').optional().default('sqlite'),
        path: z.string().min(1).default('data/console/console.sqlite'),
      }),
      z.strictObject({
        type: z.literal('postgres'),
        url: address('postgres://console@db.example.org/sightline', ['postgres', 'postgresql']),
        password: z.string().min(1).optional(),
        passwordFile: z.string().min(1).optional(),
        connectionsMax: count(8, 100),
        queryTimeout: duration().prefault('10s'),
      }),
    ])
    .prefault({}),
  bucket: bucketShape(),
  reconcile: z
    .strictObject({
      /** Hour of the day, UTC; absent: only on demand. */
      atHour: z.number().int().min(0).max(23).nullable().default(3),
    })
    .prefault({}),
  access: z
    .strictObject({
      usersFile: z.string().min(1).optional(),
      sessionMax: longDuration().prefault('7d'),
      sessionIdleMax: longDuration().prefault('12h'),
      tokenMax: longDuration().prefault('365d'),
      openId: z
        .strictObject({
          issuer: webAddress(),
          clientId: z.string().min(1),
          clientSecret: z.string().min(1).optional(),
          clientSecretFile: z.string().min(1).optional(),
          scopes: z.array(z.string().min(1)).default(['openid', 'profile', 'email']),
          /** Which claim names the user, and which the role. */
          nameClaim: z.string().min(1).default('email'),
          roleClaim: z.string().min(1).default('roles'),
          /** A value of the claim, and the role that it gives; users with none of them do not get in. */
          roles: z.record(z.string().min(1), z.enum(PERSON_ROLES)).default({}),
          /** Which claim names the sites that a user sees, a list; absent: everybody sees every site. */
          sitesClaim: z.string().min(1).optional(),
        })
        .optional(),
    })
    .prefault({}),
  live: z
    .strictObject({
      viewersMax: count(100, 10_000),
      /** Pictures a second to one viewer. */
      rateMax: z.number().positive().max(30).default(10),
    })
    .prefault({}),
  recordings: z
    .strictObject({
      /** Players fetch from the bucket itself, where it can sign addresses; otherwise through the console. */
      signedAddresses: z.boolean().default(false),
      signedFor: duration().prefault('15m'),
      exportBytesMax: size().prefault('10GB'),
      /** Certificates of the devices that sign (PEM), by which signatures are verified. */
      signersFolder: z.string().min(1).optional(),
    })
    .prefault({}),
  notices: z
    .strictObject({
      /** What notices may be sent to though it is private: host names, addresses, and networks such as 192.168.1.0/24. */
      allow: z
        .array(
          z
            .string()
            .refine(isAllowable, 'must be a host name, an address, or a network such as 192.168.1.0/24'),
        )
        .max(200)
        .default([]),
      /** Certificate authorities beside the public ones (PEM). */
      caFile: z.string().min(1).optional(),
      keep: longDuration().prefault('30d'),
      /** How long an address of a picture opens it. */
      linksFor: longDuration().prefault('7d'),
      smtp: z
        .strictObject({
          host: z.string().min(1).max(255),
          port: z.number().int().min(1).max(65_535).default(587),
          tls: z.enum(['starttls', 'implicit', 'none']).default('starttls'),
          user: z.string().min(1).optional(),
          password: z.string().min(1).optional(),
          passwordFile: z.string().min(1).optional(),
          from: z.string().min(3).max(300),
        })
        .optional(),
    })
    .prefault({}),
  /** Tells devices what they shall be. */
  desired: z
    .strictObject({
      enabled: z.boolean().default(true),
      /** Signs it, for devices that take nothing else. */
      signing: z.strictObject({ keyFile: z.string().min(1), certFile: z.string().min(1) }).optional(),
    })
    .prefault({}),
  limits: z
    .strictObject({
      requestsPerMinuteMax: count(1200, 1_000_000),
      streamsMax: count(200, 100_000),
      exportsMax: count(4, 100),
    })
    .prefault({}),
  /** Agents to which the page Publish may send a browser's camera (WHIP). */
  publish: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(60),
        url: address('https://agent.example.org:8889/whip', ['https', 'http']),
      }),
    )
    .max(50)
    .default([]),
  /** The address that people open, where a proxy stands before it: of links, of sign-in, of the cookie. */
  publicUrl: webAddress().optional(),
  http: httpShape(8090).refine(({ usersFile }) => usersFile === undefined, {
    error: 'is not used here: move the file to "access.usersFile"',
    path: ['usersFile'],
  }),
})

export type ConsoleConfig = z.output<typeof consoleSchema>

/** What the schema alone cannot see. Errors: CONFIG_UNSAFE_LISTENER, CONFIG_INVALID. */
export function checkConsoleConfig({ http, access, publicUrl }: ConsoleConfig): void {
  if (!isLoopback(http.host) && http.tls === undefined)
    throw failure(
      'CONFIG_UNSAFE_LISTENER',
      `"http.host" ${http.host} would send passwords and faces over the network unencrypted: "http.tls" is missing. Add it, or use 127.0.0.1 and a reverse proxy with TLS.`,
    )
  if (access.openId && Object.keys(access.openId.roles).length === 0)
    throw failure(
      'CONFIG_INVALID',
      '"access.openId.roles" is empty, so nobody could sign in. Name at least one value of the claim and its role, such as { "sightline-admins": admin }.',
    )
  if (access.openId && publicUrl === undefined)
    throw failure(
      'CONFIG_INVALID',
      '"access.openId" needs "publicUrl": the provider sends people back to that address with /signin/openid/callback added, which must be registered there.',
    )
  if (
    access.openId &&
    URL.parse(access.openId.issuer)?.protocol === 'http:' &&
    !isLocal(access.openId.issuer)
  )
    throw failure(
      'CONFIG_INVALID',
      '"access.openId.issuer" must be an https address: over http, anyone on the network could sign in as any user.',
    )
}

const isLocal = (url: string) => isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ''))
