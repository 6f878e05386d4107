import { PROGRAMS } from '../../configurations.ts'
import { asFailure } from '../../lib/errors.ts'
import { misspeltIn } from '../../lib/variables.ts'
import { checkBridgeTopics } from './bridge-topics.ts'
import {
  BROKER_MS_MAX,
  checkBridge,
  checkConsoleBroker,
  checkDeviceBroker,
  checkSubscriberBroker,
} from './brokers.ts'
import { BUCKET_MS_MAX, checkBucket, checkBucketToRead } from './bucket.ts'
import { type Configuration, loadConfiguration } from './configuration.ts'
import { checkFiles } from './files.ts'
import { type Check, type Finding, fail, ok, runCheck, skip, warn } from './finding.ts'
import { machineChecks } from './machine.ts'
import { checkPorts, listeningOf, whoRuns } from './ports.ts'
import { lines, type Output, sumLine, sumOf } from './render.ts'

/**
 * `sightline doctor`: what is looked at, and in which order it is said. Checks that load native packages are imported
 * when they run: a package that does not load is something to say, and no reason to say nothing.
 */

const FILES_MS_MAX = 10_000
const PORTS_MS_MAX = 15_000
const STORE_MS_MAX = 60_000
const DATABASE_MS_MAX = 60_000
const MODEL_MS_MAX = 60_000
const INFERENCE_SERVER_MS_MAX = 20_000
/** Opening a camera has its timeout, which no signal ends sooner, and so has its first frame. */
const CAMERA_MORE_MS = 5000
const CONFIGURATION = 'configuration'

export interface ExamineOptions {
  readonly json: boolean
  readonly env: NodeJS.ProcessEnv
  readonly output: Output
}

interface Subject {
  readonly title: string
  readonly checks: readonly Check[]
}

/** @returns the exit status: 1 where something failed. Checks run side by side, and are said in their order. */
export async function examine(
  files: readonly string[],
  { json, env, output }: ExamineOptions,
): Promise<number> {
  // ONNX Runtime reports to Microsoft unless this is set by the time it is loaded.
  process.env.ORT_DISABLE_TELEMETRY ??= '1'
  const started = start([machine(env, files), ...subjectsOf(files, env)])
  const all: Finding[] = []
  let isLate = false
  for (const { title, outcomes } of started) {
    if (!json) output.write(`${all.length === 0 ? '' : '\n'}${title}\n`)
    for (const outcome of outcomes) {
      const { findings, late } = await outcome
      isLate ||= late
      all.push(...findings)
      for (const finding of findings)
        output.write(json ? `${JSON.stringify({ subject: title, ...finding })}\n` : lines(finding, output))
    }
  }
  const sum = sumOf(all)
  output.write(json ? `${JSON.stringify({ sum })}\n` : `\n${sumLine(sum)}`)
  const status = sum.FAIL === 0 ? 0 : 1
  // What hangs in a system call would keep the process alive for as long as it likes.
  if (isLate) process.exit(status)
  return status
}

function start(subjects: readonly Subject[]) {
  const light = new Map(
    subjects.flatMap(({ checks }) => checks.filter((it) => !it.isHeavy)).map((it) => [it, runCheck(it)]),
  )
  const quiet = Promise.all(light.values())
  return subjects.map(({ title, checks }) => ({
    title,
    outcomes: checks.map((it) => light.get(it) ?? quiet.then(() => runCheck(it))),
  }))
}

function machine(env: NodeJS.ProcessEnv, files: readonly string[]): Subject {
  const set = Object.keys(env).filter((name) => /^SIGHTLINE_(?!TEST_)/.test(name))
  const unused: Check[] =
    files.length > 1 && set.length > 0
      ? [
          said(
            skip('environment', `${set.join(', ')}: ignored with several files; give one file to apply them`),
          ),
        ]
      : []
  return { title: 'this machine', checks: [...machineChecks(), ...unused] }
}

function subjectsOf(files: readonly string[], env: NodeJS.ProcessEnv): Subject[] {
  const loaded = files.map((file) => {
    try {
      return { file, configuration: loadConfiguration(file, files.length === 1 ? env : undefined) }
    } catch (error) {
      return { file, error: asFailure(error) }
    }
  })
  const earlier: Configuration[] = []
  return loaded.map(({ file, configuration, error }) => {
    if (error)
      return {
        title: file,
        checks: [said(fail(CONFIGURATION, `not valid (${error.code})`, error.message))],
      }
    const others = earlier.flatMap((other) => listeningOf(other).map((it) => ({ ...it, file: other.file })))
    earlier.push(configuration)
    return {
      title: `${file} (${configuration.program})`,
      checks: [
        said(ok(CONFIGURATION, 'valid')),
        ...(files.length === 1 ? misspelt(configuration, env) : []),
        ...checksOf(configuration, others),
      ],
    }
  })
}

function misspelt({ program }: Configuration, env: NodeJS.ProcessEnv): Check[] {
  const schema = PROGRAMS[program]?.schema
  const sentences = schema ? misspeltIn(schema, env) : []
  return sentences.map((found) => said(warn('environment', found, 'Correct its name, or unset it.')))
}

const said = (finding: Finding): Check => ({ what: finding.what, msMax: 1000, run: async () => [finding] })

function checksOf(configuration: Configuration, others: Parameters<typeof checkPorts>[2]): Check[] {
  const running = whoRuns(configuration)
  const common: Check[] = [
    { what: 'files', msMax: FILES_MS_MAX, run: async () => checkFiles(configuration) },
    {
      what: 'ports',
      msMax: PORTS_MS_MAX,
      run: async () => checkPorts(configuration, await running, others),
    },
  ]
  switch (configuration.program) {
    case 'broker': {
      const { store, bridges, queues, sessions, retained, topicPrefix } = configuration.config
      const bounds = [
        ...bridges,
        ...bridges.map(({ quarantine }) => quarantine),
        ...queues,
        sessions,
        retained,
      ]
      const bytesMax = bounds.reduce((sum, it) => sum + it.bytesMax, 0)
      const check = async () =>
        (await import('./stores.ts')).checkStore({ folder: store.folder, key: 'store.folder', bytesMax })
      return [
        ...common,
        { what: `store ${store.folder}`, msMax: STORE_MS_MAX, isHeavy: true, run: check },
        ...bridges.map((bridge) => ({
          what: `bridge ${bridge.name}`,
          msMax: BROKER_MS_MAX,
          run: async (signal: AbortSignal) => [
            ...checkBridgeTopics(bridge, topicPrefix),
            ...(await checkBridge(bridge, signal)),
          ],
        })),
      ]
    }
    case 'subscriber': {
      const { config } = configuration
      const { inbox, quarantine, recordings } = config
      const clips = recordings.enabled ? recordings.inbox.bytesMax : 0
      const bytesMax = inbox.bytesMax + clips + quarantine.bytesMax
      const check = async () =>
        (await import('./stores.ts')).checkStore({ folder: inbox.folder, key: 'inbox.folder', bytesMax })
      return [
        ...common,
        { what: `store ${inbox.folder}`, msMax: STORE_MS_MAX, isHeavy: true, run: check },
        { what: 'broker', msMax: BROKER_MS_MAX, run: (signal) => checkSubscriberBroker(config, signal) },
        { what: 'bucket', msMax: BUCKET_MS_MAX, isHeavy: true, run: (signal) => checkBucket(config, signal) },
      ]
    }
    case 'console': {
      const { config } = configuration
      const { inbox, database } = config
      const check = async () =>
        (await import('./stores.ts')).checkStore({
          folder: inbox.folder,
          key: 'inbox.folder',
          bytesMax: inbox.bytesMax,
        })
      return [
        ...common,
        { what: `store ${inbox.folder}`, msMax: STORE_MS_MAX, isHeavy: true, run: check },
        { what: 'broker', msMax: BROKER_MS_MAX, run: (signal) => checkConsoleBroker(config, signal) },
        {
          what: 'signing',
          msMax: FILES_MS_MAX,
          run: async () => (await import('./console.ts')).checkDesiredSigning(config),
        },
        {
          what: 'database',
          msMax: DATABASE_MS_MAX,
          run: async () => (await import('./database.ts')).checkDatabase(database),
        },
        { what: 'bucket', msMax: BUCKET_MS_MAX, run: (signal) => checkBucketToRead(config, signal) },
      ]
    }
    case 'inference': {
      const { config } = configuration
      return [
        ...common,
        {
          what: 'tokens',
          msMax: FILES_MS_MAX,
          run: async () => (await import('./inference.ts')).checkTokens(config),
        },
        ...config.models.map((model) => ({
          what: `model ${model.model}`,
          msMax: MODEL_MS_MAX,
          isHeavy: true,
          run: async () => [await (await import('./inference.ts')).checkServedModel(config, model)],
        })),
      ]
    }
    case 'device': {
      const { config } = configuration
      return [
        ...common,
        {
          what: 'outbox',
          msMax: STORE_MS_MAX,
          isHeavy: true,
          run: async () => (await import('./device.ts')).checkOutbox(config),
        },
        {
          what: 'streams',
          msMax: FILES_MS_MAX,
          run: async () => (await import('./device.ts')).checkStreams(config),
        },
        {
          what: 'signing',
          msMax: FILES_MS_MAX,
          run: async () => {
            const { checkDesiredSigners, checkSigning } = await import('./device.ts')
            return [...(await checkSigning(config)), ...checkDesiredSigners(config)]
          },
        },
        { what: 'broker', msMax: BROKER_MS_MAX, run: (signal) => checkDeviceBroker(config, signal) },
        {
          what: 'model',
          msMax: MODEL_MS_MAX,
          isHeavy: true,
          run: async (signal) => (await import('./model.ts')).checkModel(config, signal),
        },
        ...(config.detect.servers?.addresses ?? []).map((address) => ({
          what: `inference server ${address}`,
          msMax: INFERENCE_SERVER_MS_MAX,
          run: async (signal: AbortSignal) =>
            (await import('./model.ts')).checkServer(config, address, signal),
        })),
        ...config.process.map((processor) => ({
          what: `process ${processor.name}`,
          msMax: MODEL_MS_MAX,
          isHeavy: true,
          run: async () => [
            await (await import('./processors.ts')).checkProcessor(
              config,
              processor,
              (await running) !== undefined,
            ),
          ],
        })),
        ...config.cameras.map((camera) => ({
          what: `camera ${camera.name}`,
          msMax: 2 * camera.timeout + CAMERA_MORE_MS,
          isHeavy: true,
          run: async (signal: AbortSignal) =>
            (await import('./sources.ts')).checkCamera(camera, await running, signal),
        })),
      ]
    }
  }
}
