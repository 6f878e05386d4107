import { z } from 'zod'
import { keeperSchema as reportSchema } from '../../wire/keepers.ts'
import type { Context, KeeperSeen } from '../context.ts'
import { problems, unchanged } from './answers.ts'
import { timeMsSchema } from './query.ts'
import type { Api } from './server.ts'

/** The programs of the line and their books: `/keepers`. */

export const keeperSchema = reportSchema
  .omit({ v: true, ended: true })
  .extend({
    ended: z.boolean().meta({ description: 'It has reported that it stops.' }),
    seenAtMs: timeMsSchema.meta({
      description: 'When its last report arrived, by the clock of the console.',
    }),
    silent: z.boolean().meta({ description: 'Its report is overdue.' }),
    forwardedPerS: z
      .record(z.string(), z.number())
      .meta({ description: 'What each queue forwards a second, by its name.' }),
  })
  .meta({
    id: 'Keeper',
    description: 'A program, and the books of its queues: accepted = forwarded + pending + dropped.',
  })
export type Keeper = z.infer<typeof keeperSchema>

export const keepersSchema = z.object({ items: z.array(keeperSchema) }).meta({ id: 'Keepers' })
export type Keepers = z.infer<typeof keepersSchema>

export function keepersRoutes(api: Api, { fleet }: Context): void {
  api.get(
    '/keepers',
    {
      config: { right: 'flow' },
      schema: {
        operationId: 'listKeepers',
        tags: ['line'],
        summary: 'The programs of the line and their books',
        response: { 200: keepersSchema, 304: unchanged, ...problems() },
      },
    },
    async () => ({ items: fleet.keepers.map(keeperOf) }),
  )
}

/** As it is answered. */
export function keeperOf({ report, seenAtMs, isSilent, forwardedPerS }: KeeperSeen): Keeper {
  const { v: _version, ended = false, ...rest } = report
  return { ...rest, ended, seenAtMs, silent: isSilent, forwardedPerS: { ...forwardedPerS } }
}
