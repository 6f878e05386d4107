import { z } from 'zod'
import { keeperSchema as reportSchema } from '../../wire/keepers.ts'
import { timeMsSchema } from './query.ts'

/** The programs of the line and their books: `/keepers`. */

export const keeperSchema = reportSchema
  .omit({ v: true, ended: true })
  .extend({
    ended: z.boolean().meta({ description: 'It has said that it ends.' }),
    seenAtMs: timeMsSchema.meta({ description: 'When it last said something, by the clock of the console.' }),
    silent: z.boolean().meta({ description: 'It should have said something by now.' }),
    forwardedPerS: z
      .record(z.string(), z.number())
      .meta({ description: 'What each queue hands on a second, by its name.' }),
  })
  .meta({
    id: 'Keeper',
    description: 'A program, and the books of its queues: accepted = forwarded + pending + dropped.',
  })
export type Keeper = z.infer<typeof keeperSchema>

export const keepersSchema = z.object({ items: z.array(keeperSchema) }).meta({ id: 'Keepers' })
export type Keepers = z.infer<typeof keepersSchema>
