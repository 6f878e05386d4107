import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Database } from '../../../console/database/database.ts'
import { channelSchema } from '../../../console/notices/channel.ts'
import { HomeAssistant } from '../../../console/notices/home-assistant.ts'
import { MqttNotices } from '../../../console/notices/mqtt.ts'
import { scenarioSchema } from '../../../console/scenarios/document.ts'
import { Documents } from '../../../console/scenarios/documents.ts'
import { LiveScenarios } from '../../../console/scenarios/scenarios.ts'
import { failure } from '../../../lib/errors.ts'
import { openLog } from '../../../lib/log.ts'
import { MqttLink } from '../../../lib/mqtt/link.ts'
import { noticeSchema } from '../../../wire/notice.ts'
import { announcementLine } from '../../../wire/stored.ts'
import { makeStored } from '../../kit/announcements.ts'
import { brokerConfig, consoleConfig, consoleEnvironment, Program, RUN_TOKEN } from '../../kit/programs.ts'
import { until } from '../../kit/wait.ts'
import { newNotice, openDatabase } from './notices-kit.ts'

const PREFIX = 'sightline/v1'

t.test(
  'a face that a rule looks for is on the topic of its scenario, and Home Assistant knows of it',
  async (t) => {
    const broker = await Program.start(
      t,
      'broker',
      brokerConfig(t, { queues: [{ clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] }] }),
    )
    const config = consoleConfig(t, broker.url)
    const database = await Database.open({
      type: 'sqlite',
      file: String((config.database as { path: string }).path),
    })
    const documents = new Documents(database)
    await documents.create('channel', {
      id: 'line',
      by: 'test',
      document: channelSchema.parse({ type: 'mqtt', name: 'Line', retain: true, homeAssistant: true }),
    })
    await documents.create('scenario', {
      id: 'visitors',
      by: 'test',
      state: 'published',
      document: scenarioSchema.parse({
        name: 'Visitors',
        cameras: { all: true },
        rules: [{ id: 'face', name: 'A face', on: 'face', notify: ['line'] }],
      }),
    })
    await database[Symbol.asyncDispose]()
    const console = await Program.start(t, 'console', config, { env: consoleEnvironment })
    const link = await MqttLink.open({
      url: broker.url,
      clientId: 'someone',
      protocol: 4,
      clean: true,
      packetBytesMax: 1e6,
      keepaliveS: 30,
      connectMsMax: 5000,
    })
    t.teardown(() => link.destroy())
    const heard = new Map<string, string>()
    link.on('publish', ({ topic, payload, messageId, qos }) => {
      if (qos > 0 && messageId !== undefined) link.puback(messageId)
      heard.set(topic, payload.toString())
    })
    for (const filter of [`${PREFIX}/notices/+`, 'homeassistant/#'])
      await link.subscribe(filter, 1, AbortSignal.timeout(5000))
    const DISCOVERY = 'homeassistant/event/sightline_visitors/config'
    await until('Home Assistant knows of it before anything is seen', () => heard.has(DISCOVERY), 15_000)
    const stored = makeStored({ site: 'home', device: 'pi', camera: 'door' })
    link.publish({
      topic: `${PREFIX}/stored/subscriber`,
      payload: Buffer.from(announcementLine(stored)),
      messageId: 1,
      dup: false,
    })
    await until('it came', () => heard.has(`${PREFIX}/notices/visitors`), 15_000)
    const notice = noticeSchema.parse(JSON.parse(heard.get(`${PREFIX}/notices/visitors`) ?? ''))
    t.match(notice, { revision: 0, is: 'new', camera: 'door', detection: stored.id })
    t.match(JSON.parse(heard.get(DISCOVERY) ?? ''), {
      name: 'Visitors',
      state_topic: `${PREFIX}/notices/visitors`,
      event_types: ['new', 'updated', 'ended', 'test'],
    })
    await until('the notice is sent', async () => {
      const answer = await fetch(`${console.http}/api/v1/notices/${notice.id}`, {
        headers: { authorization: `Bearer ${RUN_TOKEN}` },
      })
      const { deliveries } = (await answer.json()) as { deliveries: { state: string }[] }
      return deliveries[0]?.state === 'sent'
    })
    await until('the books are in the console’s report', async () => {
      const answer = await fetch(`${console.http}/metrics`, {
        headers: { authorization: `Bearer ${RUN_TOKEN}` },
      })
      return /^sightline_console_notices\{[^}]*is="sent"[^}]*\} 1$/m.test(await answer.text())
    })
    const post = async (path: string, method = 'POST') => {
      const answer = await fetch(`${console.http}/api/v1/${path}`, {
        method,
        headers: { authorization: `Bearer ${RUN_TOKEN}` },
      })
      t.ok(answer.ok, path)
    }
    await post('scenarios/visitors/pause')
    await until('one that is paused is withdrawn', () => heard.get(DISCOVERY) === '')
    await post('scenarios/visitors/publish')
    await until('and is there again', () => heard.get(DISCOVERY) !== '')
    await post('scenarios/visitors', 'DELETE')
    await until('one that is deleted is withdrawn', () => heard.get(DISCOVERY) === '')
  },
)

t.test('a broker that is away is tried again', async (t) => {
  let isAway = true
  const mqtt = new MqttNotices({
    topicPrefix: PREFIX,
    publish: async () => {
      if (isAway) throw failure('BROKER_UNREACHABLE', 'The broker is not connected at the moment.')
    },
  })
  const notice = noticeSchema.parse({ v: 1, ...newNotice().notice, revision: 0, madeAtMs: 1 })
  const channel = { retain: false }
  t.match(await mqtt.send(channel, notice), { is: 'failed', final: false, code: 'BROKER_UNREACHABLE' })
  isAway = false
  t.match(await mqtt.send(channel, notice), { is: 'sent' })
})

t.test('what Home Assistant was told before a restart, and holds no more, is withdrawn', async (t) => {
  const database = await openDatabase(t)
  const documents = new Documents(database)
  const by = 'test'
  const scenarioOf = (name: string) => ({
    by,
    id: name,
    document: scenarioSchema.parse({
      name,
      cameras: { all: true },
      rules: [{ id: 'face', name: 'A face', on: 'face', notify: ['line'] }],
    }),
  })
  const channel = channelSchema.parse({ type: 'mqtt', name: 'Line', homeAssistant: true })
  await documents.create('channel', { id: 'line', by, document: channel })
  for (const [id, state] of Object.entries({ held: 'published', gone: 'published', draft: 'draft' }))
    await documents.create('scenario', { ...scenarioOf(id), state })
  await documents.remove('scenario', 'gone', { by })
  const scenarios = await LiveScenarios.open({ documents, log: openLog('test', 'silent') })
  t.teardown(() => scenarios[Symbol.asyncDispose]())
  const told: string[] = []
  let isAway = true
  const say = (what: string) => async (it: { readonly id: string } | string) => {
    if (isAway) throw failure('BROKER_UNREACHABLE', 'The broker is not connected at the moment.')
    told.push(`${what} ${typeof it === 'string' ? it : it.id}`)
  }
  const homeAssistant = HomeAssistant.open({
    database,
    documents,
    scenarios,
    mqtt: { announce: say('announce'), withdraw: say('withdraw') },
    log: openLog('test', 'silent'),
    retryMs: 20,
  })
  t.teardown(() => homeAssistant[Symbol.asyncDispose]())
  homeAssistant.connected()
  await sleep(50)
  isAway = false
  await until('it is told as soon as the broker is there', () => told.length === 2)
  t.strictSame(told.splice(0), ['announce held', 'withdraw gone'])
  homeAssistant.connected()
  await until('it is told again with a new connection', () => told.length === 2)
  told.splice(0)
  await documents.change('channel', 'line', { revision: 1, by, document: { ...channel, enabled: false } })
  await until('a channel that is turned off tells nothing', () => told.length === 1)
  t.strictSame(told.splice(0), ['withdraw held'])
})
