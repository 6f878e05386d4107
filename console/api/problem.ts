import { z } from 'zod'

/** What is answered instead of what was asked for: problem details (RFC 9457). */

export const PROBLEM_TYPE = 'application/problem+json'

export const problemSchema = z
  .object({
    /** Always `about:blank`: `code` tells them apart. */
    type: z.string(),
    title: z.string().meta({ description: 'What the status means.' }),
    status: z.number().int(),
    code: z
      .string()
      .meta({ description: 'Stays the same over versions; for programs.', examples: ['NOT_FOUND'] }),
    detail: z.string().meta({ description: 'A sentence for people.' }),
    errors: z
      .array(
        z.object({
          parameter: z.string().meta({ description: 'Of the path, the query or the body.' }),
          detail: z.string(),
        }),
      )
      .optional()
      .meta({ description: 'Which parameters are wrong, and what they must be.' }),
  })
  .meta({ id: 'Problem', description: 'Problem details, RFC 9457.' })

export type Problem = z.infer<typeof problemSchema>
