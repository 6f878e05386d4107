import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Database, type DatabaseOptions } from '../../console/database/database.ts'
import { type Channel, channelSchema, SECRET } from '../../console/notices/channel.ts'
import { deviceDocumentSchema, type Scenario, scenarioSchema } from '../../console/scenarios/document.ts'
import { Documents } from '../../console/scenarios/documents.ts'
import { freshPostgres, POSTGRES_URL } from '../kit/postgres.ts'

const scenario = (settings: Record<string, unknown> = {}): Scenario =>
  scenarioSchema.parse({ name: 'Visitors at the door', cameras: { all: true }, ...settings })

const webhook = () =>
  channelSchema.parse({
    type: 'webhook',
    name: 'Chat',
    template: 'slack',
    url: 'https://hooks.example.net/services/T0/B0/quite-secret',
    secret: `whsec_${'a'.repeat(32)}`,
  }) as Extract<Channel, { type: 'webhook' }>

function contract(t: Test, place: (t: Test) => Promise<DatabaseOptions>): void {
  const open = async (t: Test) => {
    const database = await Database.open(await place(t))
    t.teardown(() => database[Symbol.asyncDispose]())
    let nowMs = 1_800_000_000_000
    const { read, write } = database
    return { database, documents: new Documents({ read, write, now: () => nowMs++ }) }
  }

  t.test('each change is a revision that says who, when and what', async (t) => {
    const { documents } = await open(t)
    const told: string[] = []
    documents.follow((kind, id) => told.push(`${kind} ${id}`))
    const made = await documents.create('scenario', { document: scenario(), by: 'ada', state: 'draft' })
    t.match(made, { id: 'visitors-at-the-door', revision: 1, state: 'draft', createdBy: 'ada' })
    const changed = await documents.change('scenario', made.id, {
      revision: 1,
      document: scenario({ settings: { record: { mode: 'always' } } }),
      by: 'otto',
    })
    t.match(changed, { revision: 2, state: 'draft', changedBy: 'otto', createdBy: 'ada' })
    await documents.setState('scenario', made.id, { state: 'published', what: 'publish', by: 'ada' })
    const back = await documents.rollBack('scenario', made.id, { to: 1, by: 'otto' })
    t.match(back, { revision: 4, state: 'published' }, 'what it is stays as it is')
    t.strictSame(back.document, made.document)
    await documents.remove('scenario', made.id, { by: 'ada', revision: 4 })
    t.equal(await documents.get('scenario', made.id), undefined)
    const history = await documents.revisions('scenario', made.id)
    t.strictSame(
      history.map(({ revision, by, what, changes }) => [revision, by, what, changes.map((it) => it.path)]),
      [
        [5, 'ada', 'delete', []],
        [4, 'otto', 'roll back to 1', ['settings.record.mode']],
        [3, 'ada', 'publish', []],
        [2, 'otto', 'change', ['settings.record.mode']],
        [1, 'ada', 'create', []],
      ],
    )
    t.ok(history.every(({ atMs }, n) => n === 0 || atMs < (history[n - 1]?.atMs ?? 0)))
    t.strictSame(history[3]?.changes, [{ path: 'settings.record.mode', after: 'always' }])
    t.equal(told.length, 5, 'each is told of')
    const again = await documents.create('scenario', { document: scenario(), by: 'ada' })
    t.equal(again.id, 'visitors-at-the-door-2', 'the deleted one keeps its name: its history is found by it')
  })

  t.test('a name that is an address of the API becomes another one', async (t) => {
    const { documents } = await open(t)
    const { id } = await documents.create('scenario', { document: scenario({ name: 'Provided' }), by: 'ada' })
    t.equal(id, 'provided-2')
  })

  t.test('of two who change the same revision one is refused, and nothing of it is kept', async (t) => {
    const { documents } = await open(t)
    const { id } = await documents.create('scenario', { document: scenario(), by: 'ada' })
    const both = await Promise.allSettled(
      ['ada', 'otto'].map((by) =>
        documents.change('scenario', id, { revision: 1, document: scenario({ description: by }), by }),
      ),
    )
    t.strictSame(both.map((it) => it.status).toSorted(), ['fulfilled', 'rejected'])
    const refused = both.find((it) => it.status === 'rejected')
    t.match(refused?.reason, { code: 'REVISION_CHANGED' })
    t.equal((await documents.get('scenario', id))?.revision, 2)
    t.equal((await documents.revisions('scenario', id)).length, 2)
    await t.rejects(documents.remove('scenario', id, { by: 'ada', revision: 1 }), {
      code: 'REVISION_CHANGED',
    })
    await t.rejects(documents.rollBack('scenario', id, { to: 9, by: 'ada' }), { code: 'NOT_FOUND' })
    await t.rejects(documents.change('scenario', 'no', { revision: 1, document: scenario(), by: 'ada' }), {
      code: 'NOT_FOUND',
    })
  })

  t.test('what is written in the same transaction is written with it, or neither is', async (t) => {
    const { documents } = await open(t)
    const { id } = await documents.create('scenario', { document: scenario(), by: 'ada' })
    const fails = async () => {
      throw new Error('the outbox is full')
    }
    const change = { revision: 1, document: scenario({ description: 'new' }), by: 'ada' }
    await t.rejects(documents.change('scenario', id, change, fails), /outbox is full/)
    t.equal((await documents.get('scenario', id))?.document.description, '')
    t.equal((await documents.revisions('scenario', id)).length, 1)
  })

  t.test("a channel's secrets are in no revision, and stay where they are sent back masked", async (t) => {
    const { database, documents } = await open(t)
    const made = await documents.create('channel', { document: webhook(), by: 'ada' })
    const shown = { ...webhook(), url: `https://hooks.example.net/${SECRET}`, secret: SECRET }
    const changed = await documents.change('channel', made.id, {
      revision: 1,
      document: { ...shown, name: 'Talk' },
      by: 'ada',
    })
    t.match(changed.document, { name: 'Talk', url: /quite-secret$/, secret: `whsec_${'a'.repeat(32)}` })
    await documents.change('channel', made.id, {
      revision: 2,
      document: { ...shown, name: 'Talk', secret: `whsec_${'b'.repeat(32)}` },
      by: 'ada',
    })
    const back = await documents.rollBack('channel', made.id, { to: 1, by: 'ada' })
    t.match(back.document, { name: 'Chat', secret: `whsec_${'b'.repeat(32)}` }, 'the secret of now')
    const rows = await database.read.selectFrom('document_revisions').selectAll().execute()
    t.equal(rows.length, 4)
    t.notMatch(JSON.stringify(rows), /quite-secret|aaaa|bbbb/)
    t.equal((await documents.revisions('channel', made.id))[1]?.what, 'change (a secret)')
    const moved = { ...shown, url: `https://evil.example.net/${SECRET}` }
    await t.rejects(
      documents.change('channel', made.id, { revision: 4, document: moved, by: 'ada' }),
      { code: 'PARAMETER_INVALID', message: /url/ },
      'a secret does not go to another host',
    )
    const token = { ...webhook(), template: 'gotify', token: 'tk_quite-secret' } as const
    const gotify = await documents.create('channel', { document: token, by: 'ada' })
    for (const url of [
      'https://evil.example.net\\@hooks.example.net/x',
      'https://evil.example.net/@hooks.example.net/x',
      'http://hooks.example.net/x',
    ])
      await t.rejects(
        documents.change('channel', gotify.id, {
          revision: 1,
          document: { ...token, url, token: SECRET, secret: undefined },
          by: 'ada',
        }),
        { code: 'PARAMETER_INVALID', message: /token/ },
        `nor to one that looks like it, nor in the clear: ${url}`,
      )
  })

  t.test(
    'a password of a camera is kept where it is masked, and must be given where there is none',
    async (t) => {
      const { database, documents } = await open(t)
      const device = (source: string, password: string) =>
        deviceDocumentSchema.parse({ content: { cameras: { door: { source, username: 'me', password } } } })
      await documents.create('device', {
        id: 'home/pi',
        document: device('rtsp://me:hunter2@cam/1', 'hunter3'),
        by: 'ada',
      })
      const changed = await documents.change('device', 'home/pi', {
        revision: 1,
        document: device(`rtsp://me:${SECRET}@cam/1`, SECRET),
        by: 'ada',
      })
      t.match(changed.document.content.cameras?.door, {
        source: 'rtsp://me:hunter2@cam/1',
        password: 'hunter3',
      })
      const rows = await database.read.selectFrom('document_revisions').selectAll().execute()
      t.notMatch(JSON.stringify(rows), /hunter/)
      await t.rejects(
        documents.change('device', 'home/pi', {
          revision: 2,
          document: device('rtsp://evil/1', SECRET),
          by: 'otto',
        }),
        { code: 'PARAMETER_INVALID', message: /cameras\.door\.password/ },
        'a password does not go to another host',
      )
      await documents.change('device', 'home/pi', {
        revision: 2,
        document: deviceDocumentSchema.parse({}),
        by: 'ada',
      })
      await t.rejects(documents.rollBack('device', 'home/pi', { to: 1, by: 'ada' }), {
        code: 'PARAMETER_INVALID',
        message: /revisions keep no secrets/,
      })
      t.equal((await documents.list('device'))[0]?.id, 'home/pi')
      await t.rejects(
        documents.create('device', { id: 'home/pi', document: deviceDocumentSchema.parse({}), by: 'ada' }),
        { code: 'NAME_TAKEN' },
      )
    },
  )
}

t.test('SQLite', (t) => {
  contract(t, async (t) => ({ type: 'sqlite', file: join(t.testdir(), 'console.db') }))
  t.end()
})

t.test('PostgreSQL', { skip: POSTGRES_URL ? false : 'SIGHTLINE_TEST_POSTGRES is not set' }, (t) => {
  contract(t, async (t) => ({ type: 'postgres', url: await freshPostgres(t) }))
  t.end()
})
