import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { get } from 'node:https'
import { resolve } from 'node:path'
import t from 'tap'
import { freePort } from '../kit/ports.ts'
import { until } from '../kit/wait.ts'
import { Deployment, derive, TAG, WELL_MS_MAX } from './deployment.ts'
import { container, docker } from './engine.ts'

/** A demo on this machine's engine: coming up, staying, being replaced, and going. */

const LAUNCHER = resolve(import.meta.dirname, '..', '..', 'bin', 'sightline.js')
const PARTS = ['cloud-broker', 'edge-broker', 'subscriber', 'console', 'device']
/** The builds' arguments that `npm run test:docker` was given. */
const NETWORK = /--network=(\S+)/.exec(process.env.SIGHTLINE_TEST_DOCKER_BUILD ?? '')?.[1]

/** The gallery, as a browser that trusts the deployment's authority. */
function gallery(port: number, ca: string, auth?: string): Promise<number | undefined> {
  return new Promise((done, failed) => {
    get({ host: 'localhost', port, path: '/gallery/', ca, auth, agent: false }, (answer) => {
      answer.resume()
      done(answer.statusCode)
    }).on('error', failed)
  })
}

t.test('a demo: built, up, well, and faces in the bucket; nothing that shows a secret', async (t) => {
  const stranger = await container(t, '--entrypoint=sleep', 'sightline-broker:under-test', '600')
  const before = new Set(await docker('volume', 'ls', '--quiet').then((text) => text.split('\n')))
  const it = new Deployment(t, 'demo')
  const [port, consolePort] = [await freePort(), await freePort()]
  const args = [
    '--gallery-port',
    String(port),
    '--console-port',
    String(consolePort),
    '--build-arg',
    'VERSION=under-test',
    ...(NETWORK ? ['--build-network', NETWORK] : []),
  ]
  const up = await it.deploy('demo', ...args)
  t.match(up, { status: 0, stderr: '' })
  t.match(
    up.stdout,
    new RegExp(
      `gallery +https://127\\.0\\.0\\.1:${port}/\\nconsole +https://127\\.0\\.0\\.1:${consolePort}/\\n +user admin, password [0-9a-f]{32}\\n +user viewer, password [0-9a-f]{32}`,
    ),
  )
  await it.untilStored(20)

  await t.test('the second run changes nothing, and says so', async (t) => {
    const was = await it.everything()
    const again = await it.deploy('demo', ...args)
    t.match(again, { status: 0, stdout: /nothing to do/ })
    t.strictSame(await it.everything(), was)
    t.notMatch(again.stdout, /password [0-9a-f]{32}/, 'and tells no password')
  })

  await t.test('what it has made bears its labels, and nothing else was made or touched', async (t) => {
    const own = await it.lines(
      'volume',
      'ls',
      '--quiet',
      `--filter=label=org.sightline.deployment=${it.name}`,
    )
    const now = await it.lines('volume', 'ls', '--quiet')
    t.strictSame(
      now.filter((name) => !before.has(name) && !own.includes(name)),
      [],
    )
    t.equal(await docker('inspect', '--format={{.State.Running}} {{.RestartCount}}', stranger), 'true 0')
  })

  await t.test('the gallery asks who is there, over TLS; "login" says the password again', async (t) => {
    const ca = await docker('exec', it.container('subscriber'), 'cat', '/etc/sightline/ca.pem')
    t.equal(await gallery(port, ca), 401)
    const { stdout } = await it.deploy('login')
    const [, user, password] = /^user (\S+), password (\S+)$/m.exec(stdout) ?? []
    t.equal(await gallery(port, ca, `${user}:${password}`), 200)
    t.match(up.stdout, `password ${password}`)
  })

  await t.test('no secret in what Docker shows; secrets are for their owner alone', async (t) => {
    const secrets = new Set<string>()
    for (const part of PARTS) {
      const show = 'for file in /etc/sightline/*; do stat -c "%a %u %n" "$file"; done'
      for (const line of await it.lines('exec', it.container(part), 'sh', '-c', show))
        t.match(line, /^400 1000 /)
      const read = 'cat /etc/sightline/*password /etc/sightline/*.key 2>/dev/null; true'
      for (const line of await it.lines('exec', it.container(part), 'sh', '-c', read))
        if (!line.startsWith('-----')) secrets.add(line)
    }
    t.ok(secrets.size >= 3, `${secrets.size} secrets`)
    const shown = await Promise.all([
      ...PARTS.map((part) => it.docker('inspect', it.container(part))),
      ...PARTS.map((part) => it.docker('logs', it.container(part))),
      ...['broker', 'subscriber', 'console', 'device'].map((name) =>
        it.docker('history', '--no-trunc', `sightline-${name}:under-test`),
      ),
      it.docker(
        'volume',
        'inspect',
        ...(await it.lines('volume', 'ls', '--quiet', `--filter=label=org.sightline.deployment=${it.name}`)),
      ),
    ])
    for (const secret of secrets) t.notOk(shown.some((text) => text.includes(secret)))
  })

  await t.test('containers are confined as they run', async (t) => {
    for (const part of PARTS) {
      const script =
        'awk \'$2 == "/" || $2 == "/etc/sightline" {print $2, substr($4, 1, 3)}\' /proc/mounts; grep -E "^(CapEff|NoNewPrivs)" /proc/self/status; id -u'
      const said = await it.docker('exec', it.container(part), 'sh', '-c', script)
      t.match(said, /^\/ ro,\n\/etc\/sightline ro,\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n1000$/)
    }
  })

  await t.test('each of them comes back after a crash, and faces go on', async () => {
    for (const part of PARTS) {
      await it.crash(part)
      await until(
        `${part} is started again`,
        async () => (await it.inspect<number>(part, '.RestartCount')) === 1,
        WELL_MS_MAX,
      )
    }
    await it.untilWell()
    await it.untilStored(20)
  })

  await t.test('logs: of all parts, of one, and on and on', async (t) => {
    const all = await it.deploy('logs', '--tail', '5')
    for (const part of PARTS) t.match(all.stdout, new RegExp(`^${part} +\\{.*\\}$`, 'm'))
    const one = await it.deploy('logs', 'edge-broker', '--tail', '1')
    t.match(one.stdout, /^\{.*\}\n$/)
    t.match(await it.deploy('logs', 'nobody'), {
      status: 66,
      stderr: /has no part "nobody"\. It has: cloud-broker, device/,
    })
    const child = spawn(process.execPath, [LAUNCHER, ...it.words('logs', ['device', '-f', '--tail', '1'])])
    let seen = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text
    })
    await until('the log so far', () => seen.includes('\n'), WELL_MS_MAX)
    await it.docker('restart', it.container('device'))
    await until('what is logged later', () => seen.includes('camera opened'), WELL_MS_MAX)
    child.kill('SIGINT')
    const [status] = (await once(child, 'close')) as [number | null]
    t.equal(status, 0)
  })

  await t.test('an upgrade replaces each, and the books go on', async (t) => {
    const was = await Promise.all(PARTS.map((part) => it.inspect<string>(part, '.Id')))
    const { accepted } = await it.queue('edge-broker', 'bridge/cloud')
    for (const name of ['broker', 'subscriber', 'console', 'device'])
      await derive(t, `sightline-${name}:under-test`, `sightline-${name}:under-test-next`, 'LABEL next=1')
    const next = ['--tag', 'sightline-{program}:under-test-next']
    const upgrade = await it.deploy('upgrade', ...next)
    t.match(upgrade, { status: 0, stderr: '' })
    const is = await Promise.all(PARTS.map((part) => it.inspect<string>(part, '.Id')))
    for (const [at, id] of is.entries()) t.not(id, was[at])
    t.strictSame(await it.lines('ps', '--all', '--quiet', '--filter=name=previous'), [])
    t.ok((await it.queue('edge-broker', 'bridge/cloud')).accepted >= accepted)
    await it.untilStored(5)
    t.match(await it.deploy('upgrade', ...next), { status: 0, stdout: /nothing to do/ })
  })

  await t.test('what ends at once, or never becomes well, is rolled back with its last words', async (t) => {
    for (const name of ['broker', 'subscriber'])
      await derive(t, `sightline-${name}:under-test-next`, `sightline-${name}:under-test-broken`)
    for (const [instructions, expected, ...wait] of [
      [
        'ENTRYPOINT ["sh", "-c", "echo the lens fell off; exit 3"]',
        /did not become healthy: it exited with status 3[\s\S]*the lens fell off[\s\S]*The previous one is restored and healthy/,
      ],
      [
        'ENTRYPOINT ["sh", "-c", "sleep 600"]',
        /did not become healthy: http:\/\/127\.0\.0\.1:9101\/healthz does not answer.*\(for 8 s\)[\s\S]*is restored and healthy/,
        '--wait',
        '8s',
      ],
    ] as const) {
      await derive(t, 'sightline-device:under-test', 'sightline-device:under-test-broken', instructions)
      const was = await it.everything()
      const id = await it.inspect<string>('device', '.Id')
      const outcome = await it.deploy('upgrade', '--tag', 'sightline-{program}:under-test-broken', ...wait)
      t.match(outcome, { status: 70, stderr: expected })
      t.match(outcome.stderr, /^ROLLED_BACK: /)
      t.equal(await it.inspect<string>('device', '.Id'), id, 'the very one')
      t.strictSame(
        (await it.everything()).map((line) => line.split(' ')[0]),
        was.map((line) => line.split(' ')[0]),
      )
    }
    await it.untilWell()
    await it.untilStored(5)
  })

  await t.test('down keeps what is worth keeping; --purge wants to be said twice', async (t) => {
    const stored = await it.stored()
    t.match(await it.deploy('down', '--purge'), { status: 64, stderr: /say it twice/ })
    t.equal((await it.deploy('status')).status, 0, 'and once does nothing')
    t.match(await it.deploy('down'), { status: 0, stdout: /is down\. Kept, .*-bucket.*edge-broker-data/ })
    t.strictSame(await it.lines('ps', '--all', '--quiet', `--filter=name=${it.container('')}`), [])
    t.match(await it.deploy('status'), { status: 66, stderr: /Deployment .* not found/ })
    const again = await it.deploy(
      'demo',
      '--gallery-port',
      String(port),
      '--console-port',
      String(consolePort),
      '--tag',
      TAG,
    )
    t.match(again, { status: 0, stderr: '' })
    t.ok((await it.stored()) >= stored)
    t.match(await it.deploy('login'), { stdout: up.stdout.match(/password [0-9a-f]{32}/)?.[0] })
    t.match(await it.deploy('down', '--purge', '--purge'), { status: 0, stdout: /is gone/ })
    t.strictSame(await it.everything(), [])
    t.match(await it.deploy('down'), { status: 66 })
    t.equal(await docker('inspect', '--format={{.State.Running}}', stranger), 'true')
  })
})

t.test('a first deployment that fails leaves nothing running, and nothing in the way', async (t) => {
  const it = new Deployment(t, 'first')
  for (const name of ['broker', 'subscriber'])
    await derive(t, `sightline-${name}:under-test`, `sightline-${name}:under-test-bad`)
  await derive(t, 'sightline-device:under-test', 'sightline-device:under-test-bad', 'ENTRYPOINT ["false"]')
  const port = ['--gallery-port', String(await freePort()), '--console-port', String(await freePort())]
  const failed = await it.deploy('demo', ...port, '--tag', 'sightline-{program}:under-test-bad')
  t.match(failed, {
    status: 70,
    stderr: /^DEPLOYMENT_UNHEALTHY: \S+-device did not become healthy: it exited with status 1/,
  })
  t.strictSame(
    (await it.everything()).filter((line) => line.startsWith('/')),
    [],
    'no container',
  )
  t.match(await it.deploy('demo', ...port, '--tag', TAG), { status: 0, stderr: '' })
})

t.test('a deploy that is killed can be run again, however far it was', async (t) => {
  const it = new Deployment(t, 'killed')
  const args = [
    '--gallery-port',
    String(await freePort()),
    '--console-port',
    String(await freePort()),
    '--tag',
    TAG,
  ]
  /** Kills it with its first line that matches. */
  const killed = async (verb: string, more: readonly string[], at: RegExp) => {
    const child = spawn(process.execPath, [LAUNCHER, ...it.words(verb, more)], { detached: true })
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (at.test(said)) process.kill(-(child.pid as number), 'SIGKILL')
    })
    await once(child, 'close')
    t.match(said, at)
    t.notMatch(said, /logs {6}sightline/, 'it did not come to its end')
  }
  await killed('demo', args, /images?.*device:under-test exists/)
  await killed('demo', args, /cloud-broker: starting it/)
  await killed('demo', args, /device: starting it/)
  t.match(await it.deploy('demo', ...args), { status: 0, stderr: '' })
  await it.untilStored(5)
  for (const name of ['broker', 'subscriber', 'console', 'device'])
    await derive(t, `sightline-${name}:under-test`, `sightline-${name}:under-test-later`, 'LABEL later=1')
  const later = ['--tag', 'sightline-{program}:under-test-later']
  for (const at of [/cloud-broker: stopping/, /subscriber: starting the new/, /device: stopping/])
    await killed('upgrade', later, at)
  t.match(await it.deploy('upgrade', ...later), { status: 0, stderr: '' })
  await it.untilWell()
  const image = await docker('image', 'inspect', '--format={{.Id}}', 'sightline-broker:under-test-later')
  t.equal(await it.inspect<string>('edge-broker', '.Image'), image)
  t.strictSame(
    await it
      .lines('ps', '--all', '--format={{.Names}}', `--filter=label=org.sightline.deployment=${it.name}`)
      .then((names) => names.sort()),
    PARTS.map(it.container).sort(),
  )
  await it.untilStored(5)
})
