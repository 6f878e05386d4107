import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { API_PREFIX } from './addresses.ts'

/** The document of the API (OpenAPI 3.1), made from the schemas that validate: `/openapi.json`. */

const TAGS = {
  detections: 'What the cameras saw: searched, opened, reviewed, exported, forgotten.',
  counts: 'How many: for charts, and today at a glance.',
  cameras: 'Cameras: their state, their pictures, and commands.',
  recordings: 'Video that was kept: its timeline, played, exported, shared, kept, forgotten.',
  streams: 'Cameras that come to a device: their keys, and who publishes.',
  line: 'Devices, programs and their books, and events of health.',
  scenarios: 'What is looked for, where, and when: scenarios, their rules, and what these decided.',
  notices: 'What people were told, on which ways, and what became of it.',
  events: 'What has just happened, as it happens.',
  access: 'Sessions, users, tokens, shares, and the audit log.',
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
          'Everything that the pages of the console show. Times are milliseconds since 1970, UTC. What you may not see is answered with 404.',
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
            description: 'A browser that is signed in. Over TLS the cookie is called __Host-sightline.',
          },
        },
      },
      security: [{ token: [] }, { session: [] }],
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => tidied(jsonSchemaTransformObject(document)),
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

type Document = ReturnType<typeof jsonSchemaTransformObject>

const REFERENCE = /"#\/components\/schemas\/([^"]+)"/g
const INPUT = /Input$/

/**
 * Each schema is there twice, as what comes (`CameraInput`) and as what goes (`Camera`): what nobody refers to is left out,
 * and what is the same both ways, or only comes, has the short name. Answers that describe themselves by their schema are
 * named by their status.
 */
function tidied(document: Document): Document {
  if (!('components' in document)) return document
  const { components, ...rest } = document
  const schemas = (components?.schemas ?? {}) as Record<string, unknown>
  const used = new Set<string>()
  const look = (part: unknown) => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(REFERENCE))
      if (!used.has(name) && schemas[name] !== undefined) {
        used.add(name)
        look(schemas[name])
      }
  }
  look(rest)
  const isShort = (name: string) => {
    const short = name.replace(INPUT, '')
    if (short === name) return false
    return !used.has(short) || JSON.stringify(schemas[short]) === JSON.stringify(schemas[name])
  }
  const nameOf = (name: string) => (isShort(name) ? name.replace(INPUT, '') : name)
  const kept = Object.fromEntries([...used].sort().map((name) => [nameOf(name), schemas[name]]))
  const text = JSON.stringify({ ...rest, components: { ...components, schemas: kept } })
    .replace(REFERENCE, (_whole, name: string) => `"#/components/schemas/${nameOf(name)}"`)
    .replaceAll('"description":"Default Response"', '"description":"OK"')
  return JSON.parse(text) as Document
}
