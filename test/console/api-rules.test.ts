import t from 'tap'
import type { DetectionDetail, DetectionsPage } from '../../console/api/detections.ts'
import type {
  DecisionsPage,
  ExpressionCheck,
  RuleVariables,
  Suspension,
  Suspensions,
} from '../../console/api/rules.ts'
import { ruleSchema } from '../../console/rules/rule.ts'
import { scenarioSchema } from '../../console/scenarios/document.ts'
import { newId } from '../../wire/id.ts'
import { makeStored } from '../kit/announcements.ts'
import { type ApiServer, apiServer, NORTH, SOUTH } from './api-server.ts'

const scenario = scenarioSchema.parse({
  name: 'Visitors',
  cameras: { all: true },
  rules: [ruleSchema.parse({ id: 'r0', name: 'Faces', on: 'face', per: 'camera', cooldownMs: 600_000 })],
})

async function published({ context }: ApiServer) {
  await context.documents.create('scenario', { document: scenario, by: 'ada', id: 'visitors' })
  await context.scenarios.reload()
}

const json = async <Answer>(answer: Response) => (await answer.json()) as Answer
const sent = (body: object, method = 'POST') => ({
  method,
  body: JSON.stringify(body),
  headers: { 'content-type': 'application/json' },
})

t.test('expressions are checked before they are saved: where they are wrong, and for whom', async (t) => {
  const { get } = await apiServer(t)
  const { items, placeholders } = await json<RuleVariables>(await get('/rules/variables', 'otto'))
  const face = items.find(({ on }) => on === 'face')
  t.match(
    face?.variables.find(({ name }) => name === 'zones'),
    { type: 'list<string>', text: /zones/ },
  )
  t.ok(placeholders.includes('camera'))
  const check = async (expression: string, on = 'face') =>
    json<ExpressionCheck>(await get('/rules/check', 'otto', sent({ on, expression })))
  t.strictSame(await check('"door" in zones'), { ok: true, problem: null })
  t.match(await check('score > 0.5 && nose'), {
    ok: false,
    problem: { code: 'unknown variable', start: 15, end: 19 },
  })
  t.equal((await get('/rules/check', 'otto', sent({ on: 'face', expression: 'a'.repeat(2001) }))).status, 400)
  t.equal((await get('/rules/check', 'vera', sent({ on: 'face', expression: 'true' }))).status, 403)
  t.equal((await get('/rules/variables', 'vera')).status, 403)
})

t.test('why there was no notice: of the cameras that somebody sees', async (t) => {
  const server = await apiServer(t)
  await published(server)
  const { rules } = server.context
  for (const at of [NORTH, NORTH, SOUTH])
    await rules.indexing((within) => server.database.apply([makeStored(at)], 'cloud', within))
  await rules.settled()
  const decisions = async (query: string, user = 'ada') =>
    (await json<DecisionsPage>(await server.get(`/decisions${query}`, user))).items
  t.strictSame(
    (await decisions('?scenario=visitors')).map(({ what, camera }) => [what, camera?.site]),
    [
      ['no channel', 'south'],
      ['cooldown', 'north'],
      ['no channel', 'north'],
    ],
  )
  t.equal((await decisions('?scenario=other')).length, 0)
  t.match(await decisions('?camera=north/pi/gate&rule=r0'), [{ untilMs: Number }, {}])
  t.strictSame(
    (await decisions('', 'carl')).map(({ camera }) => camera?.camera),
    ['door'],
  )
  const first = await json<DecisionsPage>(await server.get('/decisions?limit=2', 'ada'))
  t.equal(first.items.length, 2)
  const rest = await json<DecisionsPage>(await server.get(`/decisions?limit=2&cursor=${first.next}`, 'ada'))
  t.equal(rest.items.length, 1)
  t.equal(rest.next, null)
})

t.test('a rule is silent for a while: who may, on which camera, and who it was', async (t) => {
  const server = await apiServer(t)
  await published(server)
  const { get, database, context } = server
  const suspend = (body: object, user = 'otto') => get('/suspensions', user, sent(body))
  const hour = { scenario: 'visitors', forS: 3600 }
  t.equal((await suspend(hour, 'vera')).status, 403)
  t.equal((await suspend(hour, 'nora')).status, 403, 'whoever sees one site alone names a camera of it')
  t.equal((await suspend({ ...hour, camera: 'south/pi/door' }, 'nora')).status, 404)
  t.equal((await suspend({ ...hour, scenario: 'none' })).status, 404)
  t.equal((await suspend({ ...hour, rule: 'none' })).status, 404)
  t.equal((await suspend({ ...hour, forS: 0 })).status, 400)
  const made = await suspend({ ...hour, rule: 'r0', camera: 'north/pi/gate' }, 'nora')
  t.equal(made.status, 201)
  t.match(await json<Suspension>(made), { rule: 'r0', camera: NORTH, by: 'nora' })
  t.equal((await suspend({ ...hour, camera: 'south/pi/yard' })).status, 201)

  const list = async (user: string) => (await json<Suspensions>(await get('/suspensions', user))).items
  t.equal((await list('ada')).length, 2)
  t.strictSame(
    (await list('nora')).map(({ camera }) => camera?.site),
    ['north'],
  )
  await context.rules.indexing((within) =>
    database.apply([makeStored(NORTH), makeStored(SOUTH)], 'cloud', within),
  )
  const notices = await database.write.selectFrom('notices').select('camera').execute()
  t.strictSame(
    notices.map(({ camera }) => camera),
    ['south/pi/door'],
  )

  const end = (path: string, user = 'otto') => get(`/suspensions/${path}`, user, { method: 'DELETE' })
  t.equal((await end('visitors/-/south/pi/yard', 'nora')).status, 404)
  t.equal((await end('visitors/-/south/-/-')).status, 400)
  t.equal((await end('visitors/-/-/-/-', 'nora')).status, 403)
  t.equal((await end('visitors/-/-/-/-')).status, 404)
  t.equal((await end('visitors/-/south/pi/yard')).status, 204)
  t.equal((await end('visitors/r0/north/pi/gate', 'nora')).status, 204)
  t.equal((await list('ada')).length, 0)
  const audit = await database.write.selectFrom('audit').select(['user', 'action', 'subject']).execute()
  t.match(
    audit.filter(({ action }) => action.startsWith('suspension.')),
    [
      { user: 'nora', action: 'suspension.create', subject: 'visitors r0 north/pi/gate' },
      { user: 'otto', action: 'suspension.create', subject: 'visitors - south/pi/yard' },
      { user: 'otto', action: 'suspension.end' },
      { user: 'nora', action: 'suspension.end' },
    ],
  )
})

t.test('a first picture leads to its best one, and is left out unless it is asked for', async (t) => {
  const { get, database } = await apiServer(t)
  const track = newId()
  const first = makeStored({ ...NORTH, track, shot: 'first', zones: ['door'] })
  const best = makeStored({ ...NORTH, track, shot: 'best', capturedAtMs: first.capturedAtMs + 1000 })
  await database.apply([first, best], 'cloud')
  const ids = async (query: string) =>
    (await json<DetectionsPage>(await get(`/detections${query}`))).items.map(({ id }) => id)
  t.strictSame(await ids(''), [best.id])
  t.strictSame(await ids('?superseded=true'), [best.id, first.id])
  t.match(await json<DetectionDetail>(await get(`/detections/${first.id}`)), {
    best: best.id,
    superseded: true,
    shot: 'first',
    zones: ['door'],
  })
  t.match(await json<DetectionDetail>(await get(`/detections/${best.id}`)), {
    best: null,
    superseded: false,
    zones: null,
  })
  const exported = await (await get('/detections.csv')).text()
  t.notMatch(exported, first.id)
  t.match(exported, best.id)
})
