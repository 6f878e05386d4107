import type { Page } from 'playwright-core'
import { z } from 'zod'
import { cameraPath } from '../../console/api/cameras.ts'
import type { Resource } from '../../console/api/server.ts'
import type { Database } from '../../console/database/database.ts'
import type { Channel } from '../../console/notices/channel.ts'
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
import { keepChannel } from './notices/notices-kit.ts'

/** What pages ask for, held by the test: it checks what is sent by the schemas that are the contract. */

const anything = z.looseObject({})
const query = { querystring: z.record(z.string(), z.string()) }
const missing = () => failure('NOT_FOUND', 'There is none, or you may not see it.')

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
  return {
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
  }
}

/** Into the database, with its deliveries and their attempts, as if they had been made. */
export async function keepNotices(database: Database, ...notices: readonly NoticeDetail[]): Promise<void> {
  for (const { deliveries, changedAtMs, picture: _picture, revision, ...said } of notices) {
    noticeSchema.parse({ v: 1, madeAtMs: changedAtMs, revision, ...said })
    const { site, device, camera } = said
    await database.write
      .insertInto('notices')
      .values({
        ...{ id: said.id, key: said.id, at_ms: said.atMs, changed_at_ms: changedAtMs, revision },
        ...{ scenario: said.scenario.id, rule: said.rule.id, level: said.level },
        ...{ site: site ?? null, camera: camera ? `${site}/${device}/${camera}` : null },
        notice_json: JSON.stringify(said),
      })
      .execute()
    for (const it of deliveries) {
      const type = { webhook: { url: 'https://example.org/hook' }, email: { to: ['a@example.org'] } }
      const more = type[it.channel.type as keyof typeof type] ?? {}
      await keepChannel(database, it.channel.id, {
        ...{ type: it.channel.type as Channel['type'], name: it.channel.name },
        ...more,
      })
      await database.write
        .insertInto('deliveries')
        .values({
          ...{ id: it.id, notice: said.id, revision: it.revision, channel: it.channel.id, target: '' },
          ...{ line: said.id, state: it.state, attempts: it.attempts, due_at_ms: it.dueAtMs },
          ...{ give_up_at_ms: it.giveUpAtMs, made_at_ms: it.madeAtMs, done_at_ms: it.doneAtMs, why: it.why },
        })
        .execute()
      for (const { number, atMs, durationMs, status, code, answer } of it.tries)
        await database.write
          .insertInto('attempts')
          .values({ delivery: it.id, number, at_ms: atMs, duration_ms: durationMs, status, code, answer })
          .execute()
    }
  }
}

/** What rules have decided, and what is suspended. */
export class HeldRules {
  decisions: Decision[] = []
  suspensions: Suspension[] = []
  readonly suspended: unknown[] = []
  readonly resumed: string[] = []

  readonly resource: Resource = (api) => {
    const right = { config: { right: 'notices' as const } }
    api.get('/decisions', { ...right, schema: query }, async ({ query: { scenario, rule, camera } }) => ({
      items: this.decisions
        .filter((it) => scenario === undefined || it.scenario === scenario)
        .filter((it) => rule === undefined || it.rule === rule)
        .filter((it) => camera === undefined || (it.camera && cameraPath(it.camera) === camera)),
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
            forS: z.number().int(),
          }),
        },
      },
      async ({ body }) => {
        this.suspended.push(body)
        return {}
      },
    )
    api.delete(
      '/suspensions/:scenario/:rule/:site/:device/:camera',
      { config: { right: 'scenarios' }, schema: { params: anything } },
      async ({ params }, reply) => {
        this.resumed.push(Object.values(params).join(' '))
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
