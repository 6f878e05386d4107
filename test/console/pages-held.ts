import type { Page } from 'playwright-core'
import webPush from 'web-push'
import { z } from 'zod'
import type { Resource } from '../../console/api/server.ts'
import { channelSchema } from '../../console/notices/channel.ts'
import type { ChannelGiven, ChannelKept, Tested } from '../../console/pages/channel-types.ts'
import type {
  Device,
  DeviceDesired,
  DeviceDocument,
  DeviceRevision,
} from '../../console/pages/device-types.ts'
import type { Decision, NoticeDetail, Suspension } from '../../console/pages/notice-types.ts'
import { deviceDocumentSchema } from '../../console/scenarios/document.ts'
import { failure } from '../../lib/errors.ts'
import { type Reported, reportedSchema } from '../../wire/desired.ts'
import { newId } from '../../wire/id.ts'
import { noticeSchema } from '../../wire/notice.ts'
import type { ApiServer } from './api-server.ts'

/** What pages ask for, held by the test: it checks what is sent by the schemas that are the contract. */

const anything = z.looseObject({})
const query = { querystring: z.record(z.string(), z.string()) }
const missing = () => failure('NOT_FOUND', 'There is none, or you may not see it.')

/** As the API answers with one. */
interface Browser {
  readonly id: string
  readonly name: string
  readonly createdAtMs: number
  readonly lastSentMs: number | null
}

export type Delivery = NoticeDetail['deliveries'][number]

export const delivery = (settings: Partial<Delivery> = {}): Delivery => ({
  id: newId(),
  revision: 0,
  channel: { id: 'phone', name: 'Phone', type: 'push' },
  target: null,
  state: 'sent',
  attempts: 1,
  madeAtMs: Date.now() - 4000,
  dueAtMs: Date.now() - 4000,
  giveUpAtMs: Date.now() + 86_000_000,
  doneAtMs: Date.now() - 3500,
  why: null,
  tries: [{ number: 1, atMs: Date.now() - 4000, durationMs: 212, status: 201, code: null, answer: null }],
  ...settings,
})

export function notice(settings: Partial<NoticeDetail> = {}): NoticeDetail {
  const made = {
    id: newId(),
    revision: 0,
    is: 'new',
    atMs: Date.now() - 5000,
    changedAtMs: Date.now() - 5000,
    scenario: { id: 'door', name: 'Visitors at the door' },
    rule: { id: 'visitor', name: 'A visitor' },
    level: 'info',
    title: 'Somebody is at the gate',
    text: 'A face was seen at gate.',
    site: 'north',
    device: 'pi',
    camera: 'gate',
    picture: null,
    deliveries: [delivery()],
    ...settings,
  } satisfies NoticeDetail
  const { changedAtMs, picture: _picture, deliveries: _deliveries, ...said } = made
  noticeSchema.parse({ v: 1, madeAtMs: changedAtMs, ...said })
  return made
}

export class HeldNotices {
  notices: NoticeDetail[] = []
  decisions: Decision[] = []
  suspensions: Suspension[] = []
  readonly sentAgain: string[] = []
  readonly asked: string[] = []

  readonly resource: Resource = (api) => {
    const right = { config: { right: 'notices' as const } }
    api.get('/notices', { ...right, schema: query }, async ({ url, query }) => {
      this.asked.push(url)
      const { before, scenario, camera, level, state, limit = '30' } = query
      const found = this.notices
        .filter((it) => scenario === undefined || it.scenario.id === scenario)
        .filter((it) => camera === undefined || `${it.site}/${it.device}/${it.camera}` === camera)
        .filter((it) => level === undefined || it.level === level)
        .filter((it) => state === undefined || it.deliveries.some((delivery) => delivery.state === state))
        .filter((it) => before === undefined || it.atMs < Number(before))
        .toSorted((a, b) => b.atMs - a.atMs)
      const items = found.slice(0, Number(limit))
      return { items, next: found.length > items.length ? String(items.at(-1)?.atMs) : null }
    })
    api.get(
      '/notices/:id',
      { ...right, schema: { params: z.object({ id: z.string() }) } },
      async (request) => {
        const found = this.notices.find(({ id }) => id === request.params.id)
        if (!found) throw missing()
        return found
      },
    )
    api.post(
      '/notices/:id/deliveries/:delivery/again',
      {
        config: { right: 'scenarios' },
        schema: { params: z.object({ id: z.string(), delivery: z.string() }) },
      },
      async ({ params }, reply) => {
        this.sentAgain.push(params.delivery)
        return reply.code(204).send()
      },
    )
    api.get('/decisions', { ...right, schema: query }, async ({ query: { scenario, rule, camera } }) => ({
      items: this.decisions
        .filter((it) => scenario === undefined || it.scenario === scenario)
        .filter((it) => rule === undefined || it.rule === rule)
        .filter((it) => camera === undefined || it.camera === camera),
      next: null,
    }))
    api.get('/suspensions', right, async () => ({ items: this.suspensions }))
    api.post(
      '/suspensions',
      {
        config: { right: 'scenarios' },
        schema: {
          body: z.strictObject({
            scenario: z.string(),
            rule: z.string().optional(),
            camera: z.string().optional(),
            untilMs: z.number(),
          }),
        },
      },
      async ({ body }) => {
        const made = { rule: null, camera: null, by: 'ada', ...body }
        this.suspensions.push(made)
        return made
      },
    )
    api.delete(
      '/suspensions/:scenario/:rule/:site/:device/:camera',
      { config: { right: 'scenarios' }, schema: { params: anything } },
      async (_request, reply) => {
        this.suspensions = []
        return reply.code(204).send()
      },
    )
    api.get('/scenarios', { config: { right: 'scenarios' } }, async () => ({
      items: [
        {
          id: 'door',
          name: 'Visitors at the door',
          document: {
            rules: [
              { id: 'visitor', name: 'A visitor' },
              { id: 'masked', name: 'With a mask' },
            ],
          },
        },
        { id: 'till', name: 'Queue at the till', document: { rules: [{ id: 'many', name: 'More than 4' }] } },
      ],
    }))
  }
}

/** Devices: what they shall be is taken and kept; what they answer is said by the test. */
export class HeldDevices {
  readonly desired = new Map<string, DeviceDesired>()
  readonly saved: { readonly device: string; readonly document: DeviceDocument }[] = []
  readonly triedAgain: string[] = []
  revisions: DeviceRevision[] = []

  /** The API has no such list yet: the browser is given it. */
  async list(page: Page, { fleet }: ApiServer): Promise<void> {
    await page.route('**/api/v1/devices', (route) =>
      route.fulfill({
        json: {
          items: fleet.devices.map(({ site, device, isOnline, changedAtMs }): Device => {
            const it = this.desired.get(`${site}/${device}`)
            return {
              ...{ site, device, online: isOnline, changedAtMs },
              cameras: fleet.cameras
                .filter((camera) => camera.site === site && camera.device === device)
                .map(({ camera }) => camera),
              ...(it && {
                desired: {
                  state: it.state,
                  version: it.desired?.version ?? null,
                  atMs: it.desired?.atMs ?? null,
                  reportedAtMs: it.reportedAtMs,
                  program: it.reported?.program ?? null,
                  refused: it.reported?.refused ?? null,
                },
              }),
            }
          }),
        },
      }),
    )
  }

  readonly resource: Resource = (api) => {
    const params = { params: z.object({ site: z.string(), device: z.string() }) }
    const right = { config: { right: 'scenarios' as const } }
    const keyOf = ({ site, device }: { site: string; device: string }) => `${site}/${device}`
    const found = (params: { site: string; device: string }) => {
      const it = this.desired.get(keyOf(params))
      if (!it) throw missing()
      return it
    }
    api.get('/devices/:site/:device/desired', { ...right, schema: params }, async ({ params }) =>
      found(params),
    )
    api.put(
      '/devices/:site/:device/desired',
      {
        ...right,
        schema: { ...params, body: z.strictObject({ revision: z.number(), document: deviceDocumentSchema }) },
      },
      async ({ params, body }) => {
        const it = found(params)
        if (body.revision !== it.revision)
          throw failure('PARAMETER_INVALID', 'Somebody else has changed it meanwhile.')
        this.saved.push({ device: keyOf(params), document: body.document })
        const next: DeviceDesired = {
          ...it,
          state: 'pending',
          revision: it.revision + 1,
          document: body.document,
          desired: {
            version: Date.now(),
            atMs: Date.now(),
            by: 'ada',
            content: body.document.content,
            scenarios: it.desired?.scenarios ?? [],
          },
        }
        this.desired.set(keyOf(params), next)
        return next
      },
    )
    api.post('/devices/:site/:device/desired/again', { ...right, schema: params }, async (request, reply) => {
      this.triedAgain.push(keyOf(request.params))
      return reply.code(204).send()
    })
    api.get('/devices/:site/:device/desired/revisions', { ...right, schema: params }, async () => ({
      items: this.revisions,
    }))
    api.post(
      '/devices/:site/:device/desired/rollback',
      { ...right, schema: { ...params, body: z.strictObject({ revision: z.number() }) } },
      async ({ params, body }) => {
        this.desired.set(keyOf(params), { ...found(params), revision: body.revision + 100 })
        return {}
      },
    )
  }
}

export function reported(settings: Partial<Reported> = {}): Reported {
  return reportedSchema.parse({
    v: 1,
    site: 'north',
    device: 'pi',
    atMs: Date.now() - 60_000,
    program: '0.2.0',
    understands: 1,
    applied: null,
    state: 'none',
    refused: null,
    allows: { cameras: true, streams: false, networks: ['192.168.1.0/24'], signed: false },
    models: ['blazeface', 'yunet', 'scrfd-500m'],
    effective: {
      detect: { model: 'yunet', scoreMin: 'auto', sizeMin: 0 },
      cameras: {
        gate: {
          from: 'file',
          source: 'rtsp://192.168.1.20/stream1',
          scoreMin: 0.6,
          sizeMin: 40,
          emit: { mode: 'best', first: false, bestAfter: '30s' },
          record: { mode: 'faces', before: '5s', after: '5s' },
          zones: [],
          masks: [],
          paused: false,
        },
      },
    },
    ...settings,
  })
}

export const deviceDesired = (settings: Partial<DeviceDesired> = {}): DeviceDesired => ({
  state: 'none',
  revision: 0,
  changedAtMs: null,
  changedBy: null,
  document: { labels: [], cameraLabels: {}, content: {} },
  desired: null,
  reported: reported(),
  reportedAtMs: Date.now() - 60_000,
  differences: [],
  ...settings,
})

/** Channels and browsers: what is sent to them is kept, and answered as the test says. */
export class HeldChannels {
  channels: ChannelKept[] = []
  readonly saved: unknown[] = []
  browsers: Browser[] = []
  readonly subscribed: { readonly endpoint: string }[] = []
  tested: Tested = { is: 'sent', status: 200, code: null, why: null, answer: '{"id":"xyz"}', durationMs: 87 }
  /** Of VAPID, as web-push makes them. */
  readonly key = webPush.generateVAPIDKeys().publicKey

  readonly resource: Resource = (api) => {
    const right = { config: { right: 'scenarios' as const } }
    const params = { params: z.object({ id: z.string() }) }
    const found = (id: string) => {
      const it = this.channels.find((channel) => channel.id === id)
      if (!it) throw missing()
      return it
    }
    api.get('/channels', right, async () => ({ items: this.channels }))
    api.post(
      '/channels',
      { ...right, schema: { body: z.strictObject({ document: channelSchema }) } },
      async ({ body: { document } }) => {
        this.saved.push(document)
        const made = channel(document)
        this.channels.push(made)
        const isSigned = document.type === 'webhook' && document.template === 'sightline'
        return { ...made, ...(isSigned && { secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' }) }
      },
    )
    api.put(
      '/channels/:id',
      {
        ...right,
        schema: { ...params, body: z.strictObject({ revision: z.number(), document: channelSchema }) },
      },
      async ({ params, body }) => {
        this.saved.push(body.document)
        const changed = { ...found(params.id), document: body.document, name: body.document.name }
        this.channels = this.channels.map((it) => (it.id === params.id ? changed : it))
        return changed
      },
    )
    api.delete('/channels/:id', { ...right, schema: params }, async ({ params }, reply) => {
      this.channels = this.channels.filter(({ id }) => id !== params.id)
      return reply.code(204).send()
    })
    api.post('/channels/:id/test', { ...right, schema: params }, async () => this.tested)
    api.post('/channels/preview', { ...right, schema: { body: channelSchema } }, async ({ body }) => ({
      method: 'POST',
      url: body.type === 'webhook' ? body.url : 'mailto:',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ title: 'Somebody is at the gate <b>' }),
    }))
    const own = { config: { right: 'notices' as const } }
    api.get('/push', own, async () => ({ items: this.browsers }))
    api.get('/push/key', own, async () => ({ key: this.key }))
    api.post('/push', { ...own, schema: { body: anything } }, async ({ body }) => {
      const { endpoint, name, keys } = z
        .strictObject({
          endpoint: z.url(),
          name: z.string(),
          keys: z.strictObject({ p256dh: z.string(), auth: z.string() }),
        })
        .parse(body)
      if (Buffer.from(keys.p256dh, 'base64url').length !== 65) throw failure('PARAMETER_INVALID', 'A key.')
      this.subscribed.push({ endpoint })
      const made = { id: newId(), name, createdAtMs: Date.now(), lastSentMs: null }
      this.browsers.push(made)
      return made
    })
    api.delete('/push/:id', { ...own, schema: params }, async ({ params }, reply) => {
      this.browsers = this.browsers.filter(({ id }) => id !== params.id)
      return reply.code(204).send()
    })
  }
}

export const channel = (document: ChannelGiven, settings: Partial<ChannelKept> = {}): ChannelKept => ({
  id: document.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-'),
  name: document.name,
  revision: 1,
  changedAtMs: Date.now(),
  changedBy: 'ada',
  document: channelSchema.parse(document),
  hour: { sent: 12, waiting: 0, givenUp: 0, notSent: 0 },
  failingSinceMs: null,
  lastError: null,
  ...settings,
})
