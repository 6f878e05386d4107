import t from 'tap'
import { Database } from '../../../console/database/database.ts'
import { channelSchema } from '../../../console/notices/channel.ts'
import { MqttNotices } from '../../../console/notices/mqtt.ts'
import { scenarioSchema } from '../../../console/scenarios/document.ts'
import { Documents } from '../../../console/scenarios/documents.ts'
import { failure } from '../../../lib/errors.ts'
import { MqttLink } from '../../../lib/mqtt/link.ts'
import { noticeSchema } from '../../../wire/notice.ts'
import { announcementLine } from '../../../wire/stored.ts'
import { makeStored } from '../../kit/announcements.ts'
import { brokerConfig, consoleConfig, consoleEnvironment, Program, RUN_TOKEN } from '../../kit/programs.ts'
import { until } from '../../kit/wait.ts'
import { newNotice } from './notices-kit.ts'

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
    const stored = makeStored({ site: 'home', device: 'pi', camera: 'door' })
    link.publish({
      topic: `${PREFIX}/stored/subscriber`,
      payload: Buffer.from(announcementLine(stored)),
      messageId: 1,
      dup: false,
    })
    await until('both came', () => heard.size === 2, 15_000)
    const notice = noticeSchema.parse(JSON.parse(heard.get(`${PREFIX}/notices/visitors`) ?? ''))
    t.match(notice, { revision: 0, is: 'new', camera: 'door', detection: stored.id })
    t.match(JSON.parse(heard.get('homeassistant/event/sightline_visitors/config') ?? ''), {
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
  const channel = { retain: false, homeAssistant: true }
  t.match(await mqtt.send(channel, notice), { is: 'failed', final: false, code: 'BROKER_UNREACHABLE' })
  isAway = false
  t.match(await mqtt.send(channel, notice), { is: 'sent' })
})
