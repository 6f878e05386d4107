import { z } from 'zod'
import type { Entry } from '../access/audit.ts'
import type { Context } from '../context.ts'
import { problems, unchanged } from './answers.ts'
import { idSchema, pageOf, pageShape, timeMsSchema, timeParameter } from './query.ts'
import type { Api } from './server.ts'

/** Who did what: `/audit`. It only grows. */

export const auditEntrySchema = z
  .object({
    id: idSchema,
    atMs: timeMsSchema,
    user: z.string().meta({ description: 'As it was given: there may be no user of that name.' }),
    by: z.string().meta({ description: 'session, run, token ID, or the way of the sign-in.' }),
    address: z.string().nullable().meta({ description: 'The IP address it came from.' }),
    what: z.string().meta({ examples: ['sign-in', 'token.create', 'camera.command', 'export'] }),
    target: z.string().meta({ description: 'What it was done to; empty where it is the user.' }),
    detail: z.record(z.string(), z.unknown()).nullable(),
  })
  .meta({ id: 'AuditEntry' })
export type AuditEntry = z.infer<typeof auditEntrySchema>

export const auditPageSchema = z.object(pageOf(auditEntrySchema)).meta({ id: 'AuditPage' })
export type AuditPage = z.infer<typeof auditPageSchema>

export const auditQuerySchema = z.strictObject({
  user: z.string().min(1).max(200).optional().meta({ description: 'Of this user.' }),
  what: z.string().min(1).max(100).optional().meta({ description: 'Only this.' }),
  from: timeParameter('At this time or later.').optional(),
  to: timeParameter('Before this time.').optional(),
  cursor: idSchema.optional().meta({ description: 'Where to continue: "next" of the page before.' }),
  limit: pageShape.limit,
})
export type AuditQuery = z.input<typeof auditQuerySchema>

export function auditRoutes(api: Api, { access }: Context): void {
  api.get(
    '/audit',
    {
      config: { right: 'people' },
      schema: {
        operationId: 'listAudit',
        tags: ['access'],
        summary: 'Who did what, the newest first',
        querystring: auditQuerySchema,
        response: { 200: auditPageSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const { user, what, from, to, cursor, limit } = request.query
      // One more tells whether there is a next page.
      const entries = await access.audit.page(
        { user, action: what, fromMs: from, beforeMs: to },
        cursor,
        limit + 1,
      )
      const items = entries.slice(0, limit)
      const last = entries.length > limit ? items.at(-1) : undefined
      return { items: items.map(entryOf), next: last?.id ?? null }
    },
  )
}

function entryOf({ id, atMs, user, by, address, action, subject = '', details }: Entry): AuditEntry {
  return {
    id,
    atMs,
    user,
    by,
    address: address ?? null,
    what: action,
    target: subject,
    detail: details === undefined ? null : { ...details },
  }
}
