import t from 'tap'
import { openAuthority } from '../kit/certificates.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { configFile, sightline } from './sightline.ts'

t.test('a broker whose bridge is away is well, and says that it is away', async (t) => {
  const broker = await Program.start(t, 'broker', {
    ...brokerConfig(t),
    bridges: [{ url: 'mqtt://127.0.0.1:1', topics: [{ filter: 'sightline/v1/+/+/+/crop' }] }],
  })
  const answer = await sightline(t, ['healthcheck', 'broker', '--config', configFile(t, broker.config)])
  t.equal(answer.status, 0)
  t.match(answer.stdout, /^healthy; store: .*; bridge cloud: disconnected .*\n$/)
})

t.test('over TLS it trusts the certificate that the settings name, whoever signed it', async (t) => {
  const authority = await openAuthority(t)
  const tls = await authority.server('web', { hosts: ['somewhere.example'] })
  const broker = await Program.start(t, 'broker', { ...brokerConfig(t), http: { port: 0, tls } })
  const http = { ...(broker.config.http as object), tls }
  const answer = await sightline(t, ['healthcheck', 'broker', '--config', configFile(t, { http })])
  t.equal(answer.status, 0)
  t.match(answer.stdout, /^healthy; /)
})

t.test(
  'a program that is not well, or not there, or not ours: status 1, and a line that says so',
  async (t) => {
    const away = await sightline(t, [
      'healthcheck',
      'device',
      '--config',
      configFile(t, { http: { port: 1 } }),
    ])
    t.equal(away.status, 1)
    t.match(away.stdout, /^http:\/\/127\.0\.0\.1:1\/healthz does not answer: .*ECONNREFUSED.*\n$/)

    const folder = temporaryFolder(t)
    const subscriber = await Program.start(t, 'subscriber', {
      http: { port: 0 },
      broker: { url: 'mqtt://127.0.0.1:1' },
      inbox: { folder: `${folder}/inbox` },
      bucket: { type: 'folder', path: `${folder}/bucket` },
    })
    const unwell = await sightline(t, [
      'healthcheck',
      'subscriber',
      '--config',
      configFile(t, subscriber.config),
    ])
    t.equal(unwell.status, 1)
    t.match(unwell.stdout, /^unhealthy; broker: disconnected .*\n$/)
  },
)

t.test(
  'where HTTP tells users alone what is away, the user that it runs as hears it all the same',
  async (t) => {
    const folder = temporaryFolder(t)
    const usersFile = `${folder}/users.yaml`
    await sightline(t, ['users', 'add', usersFile, 'ann', '--role', 'viewer', '--generate'])
    const subscriber = await Program.start(t, 'subscriber', {
      http: { port: 0, usersFile },
      broker: { url: 'mqtt://127.0.0.1:1' },
      inbox: { folder: `${folder}/inbox` },
      bucket: { type: 'folder', path: `${folder}/bucket` },
    })
    const { port } = subscriber.config.http as { port: number }
    const asked = await (await fetch(`http://127.0.0.1:${port}/healthz`)).text()
    t.equal(asked, '{"ok":false}')
    const http = { port, usersFile }
    const ask = (config: Record<string, unknown>) =>
      sightline(t, ['healthcheck', 'subscriber', '--config', configFile(t, config)])
    t.match(
      (await ask({ http, inbox: subscriber.config.inbox })).stdout,
      /^unhealthy; broker: disconnected .*; inbox: /,
    )
    t.match((await ask({ http, inbox: { folder: `${folder}/none` } })).stdout, /^unhealthy; .*see its log\n$/)
  },
)

t.test('the environment counts as it does for the program', async (t) => {
  const answer = await sightline(t, ['healthcheck', 'broker'], { SIGHTLINE_HTTP__PORT: '1' })
  t.match(answer.stdout, '127.0.0.1:1/')
})

t.test('wrong usage is said', async (t) => {
  for (const args of [[], ['bucket'], ['broker', 'device']]) {
    const { status, code, sentence } = await sightline(t, ['healthcheck', ...args])
    t.equal(status, 64)
    t.equal(code, 'USAGE')
    t.match(sentence, 'sightline healthcheck device|broker|subscriber')
  }
  const any = await sightline(t, ['healthcheck', 'broker', '--config', configFile(t, { http: { port: 0 } })])
  t.equal(any.status, 64)
  t.match(any.sentence, '"http.port" is 0')
})
