import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { freePort } from '../kit/ports.ts'
import type { Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { Deployment, gateway, TAG, WELL_MS_MAX } from './deployment.ts'

/** An edge and a cloud that know each other by a join file, as on two machines. */

const passwordIn = (file: string) => /^password: (.*)$/m.exec(readFileSync(file, 'utf8'))?.[1]

interface Line {
  readonly cloud: Deployment
  readonly edge: Deployment
  readonly join: string
  readonly cloudArgs: readonly string[]
  readonly edgeArgs: readonly string[]
}

async function line(t: Test & { match: (found: unknown, pattern: unknown) => unknown }): Promise<Line> {
  const cloud = new Deployment(t, 'cloud')
  const edge = new Deployment(t, 'edge')
  const join1 = join(cloud.folder, 'lab.join.yaml')
  const cloudArgs = [
    ...['--tag', TAG, '--address', await gateway()],
    ...[
      '--mqtt-port',
      String(await freePort()),
      '--gallery-port',
      String(await freePort()),
      '--console-port',
      String(await freePort()),
    ],
  ]
  const device = join(edge.folder, 'device.yaml')
  writeFileSync(device, 'device: door\ncameras: [{ name: hall, source: testcard }]\n')
  const edgeArgs = ['--tag', TAG, '--join', join1, '--config', device]
  t.match(await cloud.deploy('cloud', ...cloudArgs), {
    status: 0,
    stderr: '',
    stdout: /next +an edge: sightline deploy invite SITE/,
  })
  t.match(await cloud.deploy('invite', 'lab', '--out', join1), {
    status: 0,
    stderr: '',
    stdout: /wrote .*lab\.join\.yaml/,
  })
  t.match(await edge.deploy('edge', ...edgeArgs), { status: 0, stderr: '' })
  return { cloud, edge, join: join1, cloudArgs, edgeArgs }
}

t.test('an edge that joins a cloud: faces reach the bucket, and an outage loses none', async (t) => {
  const { cloud, edge, join: file, cloudArgs, edgeArgs } = await line(t)
  t.equal(statSync(file).mode & 0o777, 0o600)
  await cloud.untilStored(20)
  const find = 'find /var/lib/sightline-bucket -name "*.jpg" -path "*/lab/door/hall/*" | head -1'
  t.match(await cloud.docker('exec', cloud.container('subscriber'), 'sh', '-c', find), /lab\/door\/hall/)

  await t.test('second runs change nothing', async (t) => {
    const was = [await cloud.everything(), await edge.everything()]
    t.match(await cloud.deploy('cloud', ...cloudArgs), { status: 0, stdout: /nothing to do/ })
    t.match(await edge.deploy('edge', ...edgeArgs), { status: 0, stdout: /nothing to do/ })
    t.strictSame([await cloud.everything(), await edge.everything()], was)
  })

  await t.test('edges are invited and taken back while the cloud runs', async (t) => {
    const was = await cloud.everything()
    const yard = join(cloud.folder, 'yard.join.yaml')
    t.match(await cloud.deploy('invite', 'lab', '--out', yard), { status: 65, stderr: /^USER_EXISTS/ })
    t.match(await edge.deploy('invite', 'yard', '--out', yard), { status: 66, stderr: /not a cloud/ })
    t.match(await cloud.deploy('invite', 'yard', '--out', yard), { status: 0 })
    t.not(passwordIn(yard), passwordIn(file))
    const says = async (pattern: RegExp) => pattern.test((await cloud.deploy('logs', 'broker')).stdout)
    await until('the broker knows it', () => says(/"users":3,.*users reloaded/), WELL_MS_MAX)
    t.match(await cloud.deploy('cloud', ...cloudArgs), {
      status: 0,
      stdout: /nothing to do[\s\S]*edges +lab, yard/,
    })
    t.match(await cloud.deploy('remove', 'yard'), { status: 0, stdout: /taken back/ })
    await until('and forgets it', () => says(/"users":2,.*users reloaded/), WELL_MS_MAX)
    t.strictSame(await cloud.everything(), was)
    await cloud.untilStored(10)
  })

  await t.test(
    'the cloud is down: the edge collects, also across down and up; then all arrives',
    async (t) => {
      t.match(await cloud.deploy('down'), { status: 0 })
      const waits = async () => (await edge.queue('broker', 'bridge/cloud')).pending
      await until('crops wait at the edge', async () => (await waits()) >= 30, WELL_MS_MAX)
      t.equal((await edge.deploy('status')).status, 0, 'which is well all the same')
      t.match(await edge.deploy('down'), { status: 0, stdout: /Kept, .*broker-data/ })
      t.match(await edge.deploy('edge', ...edgeArgs), { status: 0, stderr: '' })
      t.ok((await waits()) >= 30, 'they are still there')
      t.match(await cloud.deploy('cloud', ...cloudArgs), { status: 0, stderr: '' })
      await until('the queue is empty', async () => (await waits()) < 5, WELL_MS_MAX)
    },
  )

  await t.test('every crop that the edge has accepted is in the bucket', async (t) => {
    await edge.docker('stop', '--time=30', edge.container('device'))
    const books = () => edge.queue('broker', 'bridge/cloud')
    await until('the edge has handed on everything', async () => (await books()).pending === 0, WELL_MS_MAX)
    const { accepted, forwarded } = await books()
    t.equal(forwarded, accepted)
    await until('and the bucket has it', async () => (await cloud.stored()) >= accepted, WELL_MS_MAX)
    t.equal(await cloud.stored(), accepted)
    t.match(await edge.deploy('status'), { status: 1, stdout: /device .*UNHEALTHY +it exited with status 0/ })
    t.match(await edge.deploy('edge', ...edgeArgs), { status: 0, stdout: /device: restarted, and healthy/ })
  })

  await t.test('another configuration replaces what it is of, and nothing else', async (t) => {
    const was = await edge.everything()
    const device = join(edge.folder, 'other.yaml')
    writeFileSync(device, 'device: door\ncameras: [{ name: yard, source: testcard }]\n')
    const changed = await edge.deploy('edge', ...edgeArgs.slice(0, 4), '--config', device)
    t.match(changed, { status: 0, stdout: /broker unchanged, device replaced/ })
    const now = await edge.everything()
    t.equal(now.length, was.length, 'the old configuration is gone')
    t.equal(
      now.filter((it) => !was.includes(it)).length,
      2,
      'a container, and the volume of its configuration',
    )
  })

  await t.test(
    'a password of another cloud: the edge says that it is refused, and keeps what it has',
    async (t) => {
      const wrong = join(edge.folder, 'wrong.yaml')
      writeFileSync(wrong, readFileSync(file, 'utf8').replace(/^password: .*$/m, 'password: wrong'))
      const device = join(edge.folder, 'other.yaml')
      t.match(await edge.deploy('edge', '--tag', TAG, '--join', wrong, '--config', device), {
        status: 0,
        stdout: /broker replaced/,
      })
      await until(
        'the log says so',
        async () => /BROKER_REFUSED/.test((await edge.deploy('logs', 'broker')).stdout),
        WELL_MS_MAX,
      )
      t.match(await edge.deploy('edge', '--tag', TAG, '--join', file, '--config', device), { status: 0 })
      const waits = async () => (await edge.queue('broker', 'bridge/cloud')).pending
      await until('then all goes on', async () => (await waits()) < 5, WELL_MS_MAX)
    },
  )
})

t.test('a port that is taken is said before anything is made', async (t) => {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '0.0.0.0', done))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const cloud = new Deployment(t, 'taken')
  const args = [
    '--tag',
    TAG,
    '--address',
    'cloud.example.org',
    '--gallery-port',
    String(await freePort()),
    '--console-port',
    String(await freePort()),
  ]
  const taken = await cloud.deploy('cloud', ...args, '--mqtt-port', String(port))
  t.match(taken, { status: 69, stderr: /^PORT_TAKEN: Port \d+ is in use on this machine.*--mqtt-port/ })
  t.strictSame(await cloud.everything(), [])
})

t.test('what does not fit together is said before anything is made', async (t) => {
  const edge = new Deployment(t, 'unfit')
  t.match(await edge.deploy('demo', '--tag', TAG, '--gpu'), {
    status: 69,
    stderr: /^ENGINE_UNSUITABLE: --gpu needs the NVIDIA runtime/,
  })
  t.match(await edge.deploy('demo', '--tag', TAG, '--camera', '/dev/video99'), {
    status: 66,
    stderr: /Camera \/dev\/video99 not found/,
  })
  t.match(
    await edge.deploy(
      'demo',
      '--tag',
      'sightline-{program}:never',
      '--gallery-port',
      String(await freePort()),
    ),
    {
      status: 66,
      stderr: /^IMAGE_NOT_FOUND: The image sightline-broker:never is not on the engine and cannot be pulled/,
    },
  )
  t.strictSame(await edge.everything(), [])
})
