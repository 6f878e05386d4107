import { connectAsync, type MqttClient } from 'mqtt'
import type { Test } from 'tap'
import { type CameraState, cameraStateSchema } from '../../wire/camera-state.ts'
import { Program, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** The agent and a broker of ours, as programs; commands as anybody would publish them. */

export const BASE = 'sightline/v1/lab/bench1'

export interface Message {
  readonly topic: string
  readonly payload: Buffer
  readonly retain: boolean
  readonly atMs: number
}

/** Somebody at the broker who reads all. */
export async function watch(t: Test, url: string, login: { username?: string; password?: string } = {}) {
  const client = await connectAsync(url, { ...login, reconnectPeriod: 0 })
  t.teardown(() => client.endAsync(true))
  const came: Message[] = []
  client.on('message', (topic, payload, { retain }) => {
    came.push({ topic, payload, retain, atMs: performance.now() })
  })
  const of = (kind: string, camera = 'card') =>
    came.filter(({ topic }) => topic === `${BASE}/${camera}/${kind}`)
  const states = () =>
    of('state').map(({ payload }) => cameraStateSchema.parse(JSON.parse(payload.toString('utf8'))))
  const stateBecomes = async (what: string, test: (state: CameraState) => boolean) => {
    await until(what, () => {
      const last = states().at(-1)
      return last !== undefined && test(last)
    })
    return states().at(-1) as CameraState
  }
  return { client, came, of, states, stateBecomes }
}

export const command = (client: MqttClient, what: string, payload: string, camera = 'card') =>
  client.publishAsync(`${BASE}/${camera}/set/${what}`, payload, { qos: 1 })

/** Of each test its own: files are tested side by side, and a device that is started again finds what it has left. */
const outboxes = new WeakMap<Test, string>()
function outboxOf(t: Test): string {
  const folder = outboxes.get(t) ?? temporaryFolder(t)
  outboxes.set(t, folder)
  return folder
}

const deviceConfig = (t: Test, url: string, settings: Record<string, unknown> = {}) => ({
  site: 'lab',
  device: 'bench1',
  cameras: [{ name: 'card', source: 'testcard' }],
  emit: { mode: 'every' },
  http: { port: 0 },
  report: { enabled: false },
  ...settings,
  outbox: { folder: outboxOf(t), ...(settings.outbox as object) },
  remote: { folder: temporaryFolder(t), ...(settings.remote as object) },
  broker: { url, backoff: { min: '20ms', max: '200ms' }, ...(settings.broker as object) },
})

const served = ({ msg }: { msg?: string }) => msg === 'health and metrics are served'
export const startDevice = (t: Test, url: string, settings?: Record<string, unknown>) =>
  Program.waiting(t, 'device', deviceConfig(t, url, settings), served)

export async function metric(device: Program, name: string): Promise<number> {
  const { url } = await device.line(served)
  const text = await (await fetch(`${url}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => line.startsWith(`sightline_${name}`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}
