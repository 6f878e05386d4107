import { z } from 'zod'
import type { Resource } from '../../console/api/server.ts'
import type { Decision, NoticeDetail, Suspension } from '../../console/pages/notices.ts'
import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import { noticeSchema } from '../../wire/notice.ts'

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
