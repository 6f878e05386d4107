import { z } from 'zod'
import { isName } from './names.ts'

/**
 * What a program says of itself and its queues, retained, on `<prefix>/keepers/<keeper>`, QoS 1: so that whoever is behind
 * NAT is seen too. Said every `everyMs`, and at once where it becomes well or unwell; a clean end is said with `ended`.
 * Pure.
 */
export const KEEPER_VERSION = 1
/** The last level of its topic: `device-<n>-<site>-<device>`, `broker-<name>-<id>`, `subscriber-<name>`, `console-<name>`. */
export const KEEPER_PATTERN = /^[A-Za-z0-9_-]{1,200}$/
export const KEEPER_BYTES_MAX = 64 * 1024

const count = z.number().int().nonnegative()
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)
const text = (max: number) => z.string().max(max)

/** A queue and its books: accepted = forwarded + pending + the sum of dropped. */
export const queueBooksSchema = z.object({
  /** `bridge/cloud`, `session/sightline-subscriber`, `inbox`, `quarantine`: store/queue.ts. */
  name: text(300),
  accepted: count,
  forwarded: count,
  pending: count,
  /** By reason. */
  dropped: z.record(text(100), count),
  /** Of what is pending, and when the oldest of it came. */
  bytes: count,
  oldestAtMs: timeMs.nullable(),
})

export const keeperSchema = z.object({
  v: z.literal(KEEPER_VERSION),
  keeper: z.string().regex(KEEPER_PATTERN),
  program: z.enum(['device', 'broker', 'subscriber', 'console']),
  /** As configured; for a device `<site>/<device>`. */
  name: text(200),
  /** Of the package. */
  version: text(64),
  startedAtMs: timeMs,
  atMs: timeMs,
  everyMs: z.number().int().positive(),
  ended: z.boolean().optional(),
  /** As its /healthz says. */
  ok: z.boolean(),
  checks: z.record(text(100), text(2000)),
  queues: z.array(queueBooksSchema).max(1000),
  /**
   * Connections to the next keeper, so that the line can be drawn: of an agent to its broker, of a bridge to the other
   * broker, of a subscriber to its broker.
   */
  links: z
    .array(
      z.object({
        name: text(200),
        /** Host and port, or what the program calls it; never with a password. */
        to: text(300),
        connected: z.boolean(),
        /** Where it is known: the client id there, by which the other keeper's session or queue is found. */
        clientId: text(300).optional(),
      }),
    )
    .max(100),
  /** Numbers that only grow, of what has no queue: `crops_made`, `stored`, `faces_passed_over.quality`, ... */
  counts: z.record(text(100), z.number().nonnegative()).optional(),
  /** Certificates that it uses, by file name, and when each ends. */
  certificates: z
    .array(z.object({ name: text(300), endsAtMs: timeMs }))
    .max(100)
    .optional(),
})

export type QueueBooks = z.infer<typeof queueBooksSchema>
export type KeeperReport = z.infer<typeof keeperSchema>

export const keeperTopic = (prefix: string, keeper: string) => `${prefix}/keepers/${keeper}`

/** What of a name may stand in a topic's level. */
export const keeperName = (...parts: readonly string[]) =>
  parts
    .join('-')
    .replace(/[^A-Za-z0-9_-]/g, '_')
    .slice(0, 200)

/** The length of the site tells where it ends: names may hold dashes. */
export const deviceKeeper = ({ site, device }: { readonly site: string; readonly device: string }) =>
  keeperName('device', String(site.length), site, device)

/** Whether a report says the same of its sender as its topic does: who may publish there is the broker's to judge. */
function isItsOwn({ keeper, program, name }: KeeperReport): boolean {
  switch (program) {
    case 'device': {
      const [site, device, ...rest] = name.split('/')
      return isName(site) && isName(device) && rest.length === 0 && keeper === deviceKeeper({ site, device })
    }
    case 'broker':
      return keeper.startsWith(`${keeperName('broker', name)}-`)
    default:
      return isName(name) && keeper === keeperName(program, name)
  }
}

/** Never throws. @returns undefined where it is none of ours, or says that it is another's */
export function readKeeper(payload: Uint8Array): KeeperReport | undefined {
  if (payload.byteLength > KEEPER_BYTES_MAX) return undefined
  try {
    const report = keeperSchema.safeParse(JSON.parse(Buffer.from(payload).toString('utf8'))).data
    return report && isItsOwn(report) ? report : undefined
  } catch {
    return undefined
  }
}
