import webPush from 'web-push'
import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import type { Notice } from '../../wire/notice.ts'
import { may } from '../access/may.ts'
import type { People } from '../access/people.ts'
import type { Database } from '../database/database.ts'
import type { PushSubscriptionsTable } from '../database/tables.ts'
import type { Guard } from './guard.ts'
import type { NoticeKeys } from './keys.ts'
import type { Outcome } from './outcome.ts'
import { send } from './request.ts'

/** Notices to browsers (Web Push, RFC 8030, 8291, 8292): whoever asked for them, and may see the camera when it is sent. */

const base64url = (bytes: number) =>
  z
    .string()
    .max(200)
    .refine(
      (text) => /^[A-Za-z0-9_-]+=*$/.test(text) && Buffer.from(text, 'base64url').byteLength === bytes,
      `must be ${bytes} bytes of base64url`,
    )

/** As `PushSubscription.toJSON()` of a browser gives it. */
export const subscriptionSchema = z.object({
  endpoint: z.url({ protocol: /^https$/, error: 'must be an https address' }).max(2000),
  expirationTime: z.number().nullable().optional(),
  keys: z.object({ p256dh: base64url(65), auth: base64url(16) }),
})
export type Subscription = z.infer<typeof subscriptionSchema>

const BROWSERS_A_USER_MAX = 20
/** Push services take 4096 bytes, encrypted; some less. */
const PAYLOAD_BYTES_MAX = 3000
/** Of no use later; the console has it. */
const TTL_S = 86_400

export interface PushParts {
  readonly database: Pick<Database, 'read' | 'write'>
  readonly people: Pick<People, 'find'>
  readonly guard: Guard
  readonly keys: NoticeKeys
  /** Of whoever runs this console, for push services: an https address or mailto. */
  readonly contact: string
}

export interface Browser {
  readonly id: string
  readonly user: string
  readonly name: string
  readonly createdAtMs: number
  readonly lastSentMs: number | undefined
}

export class Push {
  readonly #parts: PushParts

  constructor(parts: PushParts) {
    this.#parts = parts
  }

  /** What browsers subscribe with. */
  get publicKey(): string {
    return this.#parts.keys.vapid.publicKey
  }

  async list(user: string): Promise<Browser[]> {
    const rows = await this.#parts.database.write
      .selectFrom('push_subscriptions')
      .selectAll()
      .where('user', '=', user)
      .orderBy('created_at_ms')
      .execute()
    return rows.map(browserOf)
  }

  /**
   * The same endpoint again is the same browser, of whoever is signed in there now; who knows no more than the endpoint takes it
   * from nobody. Errors: ADDRESS_NOT_ALLOWED, NOT_ALLOWED, TOO_MANY
   */
  async add(user: string, subscription: Subscription, name: string): Promise<Browser> {
    const { database, guard } = this.#parts
    guard.check(subscription.endpoint)
    return database.write.transaction().execute(async (db) => {
      const row: PushSubscriptionsTable = {
        id: newId(),
        user,
        endpoint: subscription.endpoint,
        keys_json: JSON.stringify({ p256dh: subscription.keys.p256dh, auth: subscription.keys.auth }),
        name,
        created_at_ms: Date.now(),
        last_sent_ms: null,
      }
      const own = await db
        .selectFrom('push_subscriptions')
        .select('endpoint')
        .where('user', '=', user)
        .execute()
      if (own.length >= BROWSERS_A_USER_MAX && !own.some(({ endpoint }) => endpoint === row.endpoint))
        throw failure('TOO_MANY', `You have ${own.length} browsers, the maximum. Remove one first.`)
      const there = await db
        .selectFrom('push_subscriptions')
        .select(['user', 'keys_json'])
        .where('endpoint', '=', row.endpoint)
        .executeTakeFirst()
      if (there && there.user !== user && there.keys_json !== row.keys_json)
        throw failure('NOT_ALLOWED', 'This browser has asked as somebody else, with other keys.')
      const kept = await db
        .insertInto('push_subscriptions')
        .values(row)
        .onConflict((it) => it.column('endpoint').doUpdateSet({ user, keys_json: row.keys_json, name }))
        .returningAll()
        .executeTakeFirstOrThrow()
      return browserOf(kept)
    })
  }

  /** @returns whether it was the user's and is gone */
  async remove(
    user: string,
    which: { readonly id: string } | { readonly endpoint: string },
  ): Promise<boolean> {
    let query = this.#parts.database.write.deleteFrom('push_subscriptions').where('user', '=', user)
    query = 'id' in which ? query.where('id', '=', which.id) : query.where('endpoint', '=', which.endpoint)
    return (await query.returning('id').execute()).length > 0
  }

  /** @param target the browser's id */
  async send(notice: Notice, target: string, signal: AbortSignal): Promise<Outcome> {
    const { database, people, guard, keys, contact } = this.#parts
    const row = await database.write
      .selectFrom('push_subscriptions')
      .selectAll()
      .where('id', '=', target)
      .executeTakeFirst()
    if (!row) return { is: 'not sent', why: 'The browser does not want notices any more.' }
    const known = await people.find(row.user)
    if (!known || !maySee(known.person, notice))
      return { is: 'not sent', why: `${row.user} may not see notices of this camera.` }
    let details: ReturnType<typeof webPush.generateRequestDetails>
    try {
      details = webPush.generateRequestDetails(
        { endpoint: row.endpoint, keys: JSON.parse(row.keys_json) },
        payloadOf(notice),
        {
          TTL: TTL_S,
          // A newer revision takes the place of one that the browser has not fetched yet.
          topic: notice.id.replaceAll('-', ''),
          urgency: notice.level === 'info' ? 'normal' : 'high',
          contentEncoding: 'aes128gcm',
          vapidDetails: { subject: contact, ...keys.vapid },
        },
      )
    } catch {
      // Keys that are none: no other try would make them some.
      await this.#forget(target)
      return {
        is: 'failed',
        final: true,
        code: 'KEYS_INVALID',
        why: 'The keys of the browser cannot be used.',
      }
    }
    const { endpoint, headers, body } = details
    const text = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
    const outcome = await send(
      guard,
      { method: 'POST', url: endpoint, headers: text, body: body ?? Buffer.alloc(0) },
      signal,
    )
    if (outcome.is === 'failed' && (outcome.status === 404 || outcome.status === 410)) {
      await this.#forget(target)
      return { ...outcome, final: true, why: 'The browser has taken back its wish for notices.' }
    }
    if (outcome.is === 'sent')
      await database.write
        .updateTable('push_subscriptions')
        .set({ last_sent_ms: Date.now() })
        .where('id', '=', target)
        .execute()
    return outcome
  }

  async #forget(target: string): Promise<void> {
    await this.#parts.database.write.deleteFrom('push_subscriptions').where('id', '=', target).execute()
  }
}

type Person = Parameters<typeof may>[0]

/** What belongs to no camera, those see who see everything, or its site. */
export function maySee(
  person: Person,
  { site, device, camera }: { readonly site?: string; readonly device?: string; readonly camera?: string },
): boolean {
  if (site !== undefined && device !== undefined && camera !== undefined)
    return may(person, 'notices', { site, device, camera })
  const { scope } = person
  return may(person, 'notices') && (scope.all || (site !== undefined && scope.sites.has(site)))
}

/** As much text as there is room for. */
export function payloadOf(notice: Notice): string {
  const { id, revision, is, level, atMs, title, text, url, picture } = notice
  const payload = (shortened: string, withPicture: boolean) =>
    JSON.stringify({
      id,
      revision,
      is,
      level,
      atMs,
      title,
      text: shortened,
      ...(url !== undefined && { url }),
      ...(picture && withPicture && { picture }),
    })
  const fits = (it: string) => Buffer.byteLength(it) <= PAYLOAD_BYTES_MAX
  const withPicture = fits(payload('', true))
  const characters = [...text]
  while (characters.length > 0 && !fits(payload(characters.join(''), withPicture)))
    characters.length = Math.floor(characters.length * 0.8)
  return payload(characters.join(''), withPicture)
}

const browserOf = (row: PushSubscriptionsTable): Browser => ({
  id: row.id,
  user: row.user,
  name: row.name,
  createdAtMs: row.created_at_ms,
  lastSentMs: row.last_sent_ms ?? undefined,
})
