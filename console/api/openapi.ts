import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { API_PREFIX } from './addresses.ts'

/** The document of the API (OpenAPI 3.1), made from the schemas that validate: `/openapi.json`. */

const TAGS = {
  detections: 'What the cameras saw: searched, opened, reviewed, exported, forgotten.',
  counts: 'How many: for charts, and today at a glance.',
  cameras: 'Cameras: how they are, their pictures, and what they are told.',
  line: 'Devices, programs and their books, and the events of their health.',
  events: 'What has just happened, as it happens.',
  access: 'Who may what: sessions, users, tokens, shares, and the log of what was done.',
  document: 'This document.',
} as const
export type Tag = keyof typeof TAGS

/** Before the routes, which it collects. */
export async function openApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Sightline console',
        version: 'v1',
        description:
          'Everything that the pages of the console show. Times are milliseconds since 1970, UTC. What you may not see does not exist: it is answered with 404.',
      },
      servers: [{ url: API_PREFIX }],
      tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', description: 'A token of the API.' },
          session: {
            type: 'apiKey',
            in: 'cookie',
            name: 'sightline',
            description: 'A browser that is signed in.',
          },
        },
      },
      security: [{ token: [] }, { session: [] }],
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => withoutUnused(jsonSchemaTransformObject(document)),
  })
  let document: string | undefined
  app.get(
    '/openapi.json',
    {
      config: { isOpen: true },
      schema: {
        operationId: 'getDocument',
        tags: ['document'],
        summary: 'This document',
        security: [],
        response: { 200: z.unknown().meta({ description: 'OpenAPI 3.1.' }) },
      },
    },
    async (_request, reply) => {
      document ??= JSON.stringify(app.swagger())
      return reply.type('application/json; charset=utf-8').send(document)
    },
  )
}

type OpenApiDocument = ReturnType<typeof jsonSchemaTransformObject>

/** Each schema is there as what comes and as what goes; only one of them is named, mostly. */
function withoutUnused(document: OpenApiDocument): OpenApiDocument {
  if (!('components' in document) || !document.components?.schemas) return document
  const { schemas } = document.components
  const { components, ...rest } = document
  const used = new Set<string>()
  const look = (part: unknown) => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/([^"]+)"/g))
      if (!used.has(name) && schemas[name] !== undefined) {
        used.add(name)
        look(schemas[name])
      }
  }
  look(rest)
  return {
    ...document,
    components: {
      ...components,
      schemas: Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name))),
    },
  } as OpenApiDocument
}
