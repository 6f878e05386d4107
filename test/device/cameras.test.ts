import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pino from 'pino'
import t, { type Test } from 'tap'
import { Agent } from '../../device/agent.ts'
import { deviceSchema } from '../../device/config.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { RtspServer } from '../kit/rtsp-server.ts'
import { until } from '../kit/wait.ts'
import { writeClip } from './clip.ts'

/** Cameras in the agent, seen from outside: states, metrics and logs. Nothing is detected here. */

const folder = t.testdir()
const FRAMERATE = 25
const clip = join(folder, 'clip.ts')
t.before(() => writeClip({ file: clip, frames: 50, width: 320, height: 180, codec: 'h264' }))

function run(t: Test, cameras: readonly Record<string, unknown>[]) {
  const lines: string[] = []
  const log = pino(
    { level: 'trace' },
    new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk))
        done()
      },
    }),
  )
  const registry = openMetrics('test')
  const statuses: string[] = []
  let looked = 0
  const agent = new Agent({
    config: loadConfig(deviceSchema, { overrides: { cameras } }),
    detector: {
      model: 'none',
      runtime: 'none',
      scoreMin: 0.5,
      input: { width: 320, height: 320, fit: 'letterbox' },
      detect: async () => {
        looked += 1
        return []
      },
      async [Symbol.asyncDispose]() {},
    },
    publisher: { offer() {}, room: async () => {}, say() {} },
    meters: openMeters(registry),
    log,
    onState: (states) => statuses.push(JSON.stringify(Object.fromEntries(states))),
  })
  const stop = new AbortController()
  const done = agent.run(stop.signal)
  done.catch(() => {})
  t.teardown(() => stop.abort())
  const metric = async (name: string, labels: RegExp) =>
    (await registry.metrics())
      .split('\n')
      .filter((line) => line.startsWith(`sightline_${name}{`) && labels.test(line))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
  return {
    agent,
    done,
    stop,
    metric,
    looked: () => looked,
    told: async () => [...lines, ...statuses, await registry.metrics(), ...agent.states.values()].join('\n'),
  }
}

t.test(
  'a camera whose plug is pulled is down, comes back by itself, and leaves the other alone',
  async (t) => {
    const password = randomBytes(8).toString('hex')
    const passwordFile = join(folder, 'password')
    writeFileSync(passwordFile, password)
    const options = { clip, framerate: FRAMERATE, user: { name: 'viewer', password } }
    const first = await RtspServer.open(options)
    t.teardown(() => first[Symbol.asyncDispose]())
    const { agent, metric, done, stop, told } = run(t, [
      { name: 'door', source: first.url, username: 'viewer', passwordFile, timeout: '2s' },
      { name: 'card', source: 'testcard' },
    ])
    await until('both are up', () => ['door', 'card'].every((name) => agent.states.get(name) === 'up'))
    t.equal(await metric('source_up', /door/), 1)
    await first.kill()
    await until('it is down', () => agent.states.get('door')?.startsWith('down: ') === true)
    t.match(agent.states.get('door'), /Reopening it|Cannot connect to/)
    t.equal(await metric('source_up', /door/), 0)
    t.equal(agent.states.get('card'), 'up')
    const before = await metric('frames_captured_total', /card/)
    await until('the other goes on', async () => (await metric('frames_captured_total', /card/)) > before + 5)
    await using _second = await RtspServer.open({ ...options, port: Number(new URL(first.url).port) })
    await until('it is back', () => agent.states.get('door') === 'up', 20_000)
    t.ok((await metric('source_failures_total', /door/)) >= 1)
    stop.abort()
    await done
    const all = await told()
    t.match(all, /camera opened/)
    t.notMatch(all, new RegExp(password), 'in no log line, status, metric or state')
  },
)

t.test('a wrong password is told without it, also in what FFmpeg says', async (t) => {
  const server = await RtspServer.open({
    clip,
    framerate: FRAMERATE,
    user: { name: 'viewer', password: 'other' },
  })
  t.teardown(() => server[Symbol.asyncDispose]())
  const { agent, told } = run(t, [
    { name: 'inside', source: server.url.replace('rtsp://', 'rtsp://viewer:hunt/er2@') },
    { name: 'beside', source: server.url, username: 'viewer', password: 'hunt/er2' },
    { name: 'http', source: 'http://viewer:hunter2@127.0.0.1:1/a.m3u8?token=hunter2' },
  ])
  await until('all are down', () => [...agent.states.values()].every((it) => it.startsWith('down: ')))
  t.match(agent.states.get('beside'), /rejects the login/)
  t.notMatch(await told(), /hunt(%2F|\/)?er2/i)
})

t.test('a watched folder is up while it waits, and down while it is away', async (t) => {
  const dir = join(t.testdir({ inbox: {} }), 'inbox')
  const { agent } = run(t, [{ name: 'inbox', source: dir, watch: true }])
  await until('it is up', () => agent.states.get('inbox') === 'up')
  await rename(dir, `${dir}-away`)
  await until('it is down', () =>
    /^down: Cannot read the folder .*inbox \(/.test(agent.states.get('inbox') ?? ''),
  )
  await rename(`${dir}-away`, dir)
  await until('it is back', () => agent.states.get('inbox') === 'up')
})

t.test('still scenes are not looked at, and counted', async (t) => {
  const still = join(folder, 'still.mkv')
  await writeClip({ file: still, frames: 250, width: 320, height: 180, pixel: (x, y) => [x % 200, y, 90] })
  const { done, metric, looked } = run(t, [
    { name: 'hall', source: still, pace: 'asfast', motion: { enabled: true } },
  ])
  await done
  const skipped = await metric('frames_skipped_total', /still scene/)
  // Ten seconds of video: all of the first two, then one at 7 s.
  t.ok(looked() >= 50 && looked() <= 54, `${looked()} looks`)
  t.equal(skipped + looked(), 250)
  t.equal(await metric('frames_captured_total', /hall/), looked())
})
