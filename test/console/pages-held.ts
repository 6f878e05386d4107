import { cameraPath } from '../../console/api/cameras.ts'
import type { Database } from '../../console/database/database.ts'
import type { Channel } from '../../console/notices/channel.ts'
import type { Decision, NoticeDetail } from '../../console/pages/notice-types.ts'
import { type Reported, reportedSchema } from '../../wire/desired.ts'
import { newId } from '../../wire/id.ts'
import { noticeSchema } from '../../wire/notice.ts'
import type { ApiServer } from './api-server.ts'
import { keepChannel } from './notices/notices-kit.ts'

/** What pages show, put into the database or said by a device, as it would have come there. */

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
          is_arrival: 0,
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

/** Into the database, as if rules had decided so. */
export async function keepDecisions(
  database: Database,
  ...decisions: readonly Omit<Decision, 'id'>[]
): Promise<void> {
  for (const { atMs, camera, untilMs, ...it } of decisions)
    await database.write
      .insertInto('decisions')
      .values({
        ...it,
        ...{ id: newId(), at_ms: atMs, until_ms: untilMs, camera: camera && cameraPath(camera) },
      })
      .execute()
}

export const DOOR = {
  name: 'Visitors at the door',
  cameras: { all: true },
  settings: { emit: { first: true } },
  rules: [
    { id: 'visitor', name: 'A visitor', on: 'face' },
    { id: 'masked', name: 'With a mask', on: 'face', conditions: { masked: true } },
  ],
}

/** As ada. @returns its id */
export async function keepScenario(
  server: ApiServer,
  document: object,
  isPublished = false,
): Promise<string> {
  const send = async (path: string, body: object) => {
    const answer = await server.get(path, 'ada', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(await answer.text())
    return (await answer.json()) as { id: string }
  }
  const { id } = await send('/scenarios', { document })
  if (isPublished) await send(`/scenarios/${id}/publish`, {})
  return id
}

/** As ada: what the device shall be. */
export async function keepDevice(server: ApiServer, device: string, document: object): Promise<void> {
  const path = `/devices/${device}/desired`
  const { revision } = await server.json<{ revision: number }>(path)
  const answer = await server.get(path, 'ada', {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ revision, document }),
  })
  if (!answer.ok) throw new Error(await answer.text())
}

/** What the device answers to the last that it was told. */
export async function answers(
  { desired }: ApiServer,
  device: string,
  settings: Partial<Reported> & { readonly state: Reported['state'] },
): Promise<void> {
  const [site = '', name = ''] = device.split('/')
  const place = { site, device: name }
  const told = desired.told(place)
  const { version = 1, digest = '' } = told ?? {}
  const answer = reported({
    ...place,
    atMs: Date.now(),
    ...(told && { version }),
    applied: settings.state === 'applied' && told ? { version, digest, atMs: Date.now() } : null,
    ...settings,
  })
  desired.take(place, Buffer.from(JSON.stringify(answer)))
  await desired.settled()
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
