import { z } from 'zod'
import type { Context } from '../context.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import type { Api } from './server.ts'

/** What can be filtered by: `/attributes`. */

export const attributesSchema = z
  .object({
    items: z.array(
      z.object({
        name: z.string(),
        labels: z.array(z.string()).meta({ description: 'In order; at most 50.' }),
        more: z.boolean().meta({ description: 'There are further labels.' }),
      }),
    ),
  })
  .meta({
    id: 'Attributes',
    description: 'What classifiers and plugins have said of faces: names and labels.',
  })
export type Attributes = z.infer<typeof attributesSchema>

export function attributesRoutes(api: Api, { access, database }: Context): void {
  api.get(
    '/attributes',
    {
      config: { right: 'see' },
      schema: {
        operationId: 'listAttributes',
        tags: ['detections'],
        summary: 'Names and labels of attributes that stored detections have',
        response: { 200: attributesSchema, 304: unchanged, ...problems() },
      },
    },
    async (request) => {
      const items = await database.attributes(asked(access, request).rows)
      return { items: items.map(({ name, labels, more }) => ({ name, labels: [...labels], more })) }
    },
  )
}
