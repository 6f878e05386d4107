import type { MqttClient } from 'mqtt'
import type { Test } from 'tap'
import {
  DESIRED_VERSION,
  type Desired,
  desiredTopic,
  digestOf,
  type Reported,
  reportedSchema,
  reportedTopic,
} from '../../wire/desired.ts'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { type watch as Watch, watch } from './commanded.ts'

/** What a console would say to the device lab/bench1, and what that answers. */

const DEVICE = { site: 'lab', device: 'bench1' }
export const TOPIC = desiredTopic('sightline/v1', DEVICE)
const REPORTED = reportedTopic('sightline/v1', DEVICE)

export function desired(version: number, content: unknown, more: Partial<Desired> = {}): Desired {
  return {
    v: DESIRED_VERSION,
    ...DEVICE,
    version,
    atMs: Date.now(),
    by: 'anna',
    digest: digestOf(content),
    content,
    ...more,
  }
}

export const publish = (client: MqttClient, document: unknown) =>
  client.publishAsync(TOPIC, typeof document === 'string' ? document : JSON.stringify(document), {
    qos: 1,
    retain: true,
  })

/** A broker, and somebody who reads all of it. */
export async function broker(t: Test) {
  const program = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, program.url)
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  return { url: program.url, program, eye, ...answers(eye) }
}

export function answers(eye: Awaited<ReturnType<typeof Watch>>) {
  const all = (): Reported[] =>
    eye.came
      .filter(({ topic, payload }) => topic === REPORTED && payload.length > 0)
      .map(({ payload }) => reportedSchema.parse(JSON.parse(payload.toString())))
  const answers = async (
    what: string,
    test: (it: Reported) => boolean,
    msMax?: number,
  ): Promise<Reported> => {
    await until(what, () => all().some(test), msMax)
    return all().findLast(test) as Reported
  }
  const say = (version: number, content: unknown, more?: Partial<Desired>) =>
    publish(eye.client, desired(version, content, more))
  return {
    all,
    say,
    answers,
    applied: (version: number) =>
      answers(
        `${version} applied`,
        (it) => it.state === 'applied' && it.applied?.version === version,
        20_000,
      ),
    refused: (version: number) =>
      answers(`${version} refused`, (it) => it.state === 'refused' && it.version === version, 30_000),
  }
}
