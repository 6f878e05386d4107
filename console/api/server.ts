import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import rateLimit from '@fastify/rate-limit'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { isName } from '../../wire/names.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { demand } from '../access/demand.ts'
import type { Right } from '../access/may.ts'
import type { Context } from '../context.ts'
import { API_PREFIX } from './addresses.ts'
import { attributesRoutes } from './attributes.ts'
import { auditRoutes } from './audit.ts'
import { camerasRoutes } from './cameras.ts'
import { channelsRoutes } from './channels.ts'
import { countsRoutes } from './counts.ts'
import { detectionsRoutes } from './detections.ts'
import { deviceSettingsRoutes } from './device-settings.ts'
import { devicesRoutes } from './devices.ts'
import { isKnown } from './entity-tags.ts'
import { eventsRoutes } from './events.ts'
import { exportRoutes } from './export.ts'
import { healthEventsRoutes } from './health-events.ts'
import { keepersRoutes } from './keepers.ts'
import { keepsRoutes } from './keeps.ts'
import { liveRoutes } from './live.ts'
import { meRoutes } from './me.ts'
import { noticesRoutes } from './notices.ts'
import { openApi } from './openapi.ts'
import { playlistRoutes } from './playlist.ts'
import { answerProblems } from './problem.ts'
import { pushRoutes } from './push.ts'
import { recordingExportRoutes } from './recording-export.ts'
import { recordingsRoutes } from './recordings.ts'
import { rulesRoutes } from './rules.ts'
import { scenariosRoutes } from './scenarios.ts'
import { sessionRoutes } from './session.ts'
import { sharesRoutes } from './shares.ts'
import { signaturesRoutes } from './signatures.ts'
import { streamKeysRoutes } from './stream-keys.ts'
import { timelineRoutes } from './timeline.ts'
import { tokensRoutes } from './tokens.ts'
import { usersRoutes } from './users.ts'

/**
 * `/api/v1`: a file a resource, which has its schemas and its routes; the schemas validate what comes, filter what goes, and
 * make the document. A route names the right that it takes, or the program does not start; where it has a camera in its
 * path, the camera has to be within the scope. What is read from the database is read within the scope, in SQL.
 */

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What it takes to be answered; several: all of them. `any`: somebody who is signed in. */
    right?: Right | readonly Right[] | 'any'
  }
}

/** What a resource adds its routes to. */
export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>
export type Resource = (api: Api, context: Context) => void

const RESOURCES: readonly Resource[] = [
  attributesRoutes,
  detectionsRoutes,
  exportRoutes,
  countsRoutes,
  camerasRoutes,
  liveRoutes,
  timelineRoutes,
  recordingsRoutes,
  playlistRoutes,
  recordingExportRoutes,
  keepsRoutes,
  signaturesRoutes,
  streamKeysRoutes,
  devicesRoutes,
  deviceSettingsRoutes,
  scenariosRoutes,
  keepersRoutes,
  healthEventsRoutes,
  eventsRoutes,
  rulesRoutes,
  noticesRoutes,
  channelsRoutes,
  pushRoutes,
  sessionRoutes,
  meRoutes,
  usersRoutes,
  tokensRoutes,
  sharesRoutes,
  auditRoutes,
]

/** @param more further resources, with routes of their own */
export async function consoleApi(
  app: FastifyInstance,
  context: Context,
  more: readonly Resource[] = [],
): Promise<void> {
  await app.register(
    async (plain) => {
      const api: Api = plain.withTypeProvider<ZodTypeProvider>()
      api.setValidatorCompiler(validatorCompiler)
      api.setSerializerCompiler(serializerCompiler)
      answerProblems(plain, context.log)
      await openApi(plain)
      await context.access.guard(plain)
      await limitRates(plain, context)
      enforceRights(plain, context)
      answerTags(plain)
      for (const resource of [...RESOURCES, ...more]) resource(api, context)
    },
    { prefix: API_PREFIX },
  )
}

/** By person; whoever is nobody yet, by address. */
async function limitRates(app: FastifyInstance, { access, config }: Context): Promise<void> {
  await app.register(rateLimit, {
    max: config.limits.requestsPerMinuteMax,
    timeWindow: 60_000,
    enableDraftSpec: true,
    keyGenerator: (request) =>
      request.routeOptions.config.isOpen ? `address ${request.ip}` : access.caller(request).person.name,
    errorResponseBuilder: (_request, { max, after }) =>
      failure('TOO_MANY', `More than ${max} requests a minute. Try again in ${after}.`),
  })
}

function enforceRights(app: FastifyInstance, { access }: Context): void {
  app.addHook('onRoute', ({ method, url, config, schema }) => {
    if (config?.isOpen !== true && config?.right === undefined)
      throw new TypeError(`${String(method)} ${url} does not say what right it takes`)
    // What a route does not know it refuses: who misspells a filter must not get everything.
    if (schema) schema.querystring ??= z.strictObject({})
  })
  // After validation, so that names are names.
  app.addHook('preHandler', async (request) => {
    const { isOpen, right } = request.routeOptions.config
    if (isOpen || right === undefined || right === 'any') return
    const { person } = access.caller(request)
    const camera = cameraIn(request.params)
    for (const one of Array.isArray(right) ? (right as readonly Right[]) : [right as Right])
      demand(person, one, camera)
  })
}

function cameraIn(params: unknown): CameraAddress | undefined {
  const { site, device, camera } = params as Partial<CameraAddress>
  return isName(site) && isName(device) && isName(camera) ? { site, device, camera } : undefined
}

/** What is the same as before is not sent again. An answer is for who asked: another account has another. */
function answerTags(app: FastifyInstance): void {
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers({ 'cache-control': 'private, no-cache', vary: 'Cookie, Authorization' })
  })
  app.addHook('onSend', async (request, reply, payload) => {
    if (request.method !== 'GET' || reply.statusCode !== 200 || typeof payload !== 'string') return payload
    const tag = `"${createHash('sha1').update(payload).digest('base64url')}"`
    reply.header('etag', tag)
    if (!isKnown(request.headers['if-none-match'], tag)) return payload
    reply.code(304).removeHeader('content-type').removeHeader('content-length')
    return null
  })
}
