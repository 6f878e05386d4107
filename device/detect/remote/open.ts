import { asFailure, failure } from '../../../lib/errors.ts'
import type { Log } from '../../../lib/log.ts'
import { type CatalogEntry, findEntry, readCatalog } from '../../../models/catalog.ts'
import type { Tensors } from '../../../models/runtime.ts'
import type { DetectConfig, InferenceServers } from '../../config.ts'
import { INFERENCE_ANSWER_BYTES_MAX, SCORE_LOW } from '../../limits.ts'
import { ApiDetector } from '../adapters/open.ts'
import type { Detector, Input } from '../detector.ts'
import type { RemoteRuntimeName } from '../open.ts'
import { detectorOptions } from '../options.ts'
import { openDetectorThread } from '../thread.ts'
import { openCredentials } from './credentials.ts'
import { FallbackDetector, type FallbackOptions } from './fallback.ts'
import { RemoteLooks } from './looks.ts'
import { type PoolOptions, WorkerPool } from './pool.ts'
import { type Ask, InferenceServer } from './server.ts'
import { openTransport } from './transport.ts'

/** A configuration with servers. */
export type RemoteConfig = DetectConfig & {
  readonly runtime: RemoteRuntimeName
  readonly servers: InferenceServers
}

export interface RemoteParts extends Pick<PoolOptions<never, never>, 'meters' | 'log'> {
  /** Called when faces are looked for elsewhere than before. */
  readonly changed?: () => void
}

/** Where nothing is known of a model, neither by a server nor by its catalogue entry. */
const SCORE_MIN_DEFAULT = 0.7

/** What looks elsewhere, however it asks. `input` and `scoreMin` are undefined as long as they are not known. */
interface Elsewhere extends Pick<FallbackOptions, 'model' | 'remote' | 'pool'> {
  readonly input: Input | undefined
  readonly scoreMin: number | undefined
  /** Told what pictures will be given. */
  readonly fit: (input: Input) => void
}

/**
 * A detector that looks at inference servers, and here while none can be asked. What pictures it takes is what the first server
 * that is ready says; where none is, what the detector here takes, or the configuration and the catalogue say.
 * Errors: INFERENCE_UNAVAILABLE where nobody says; CONFIG_INVALID; those of openDetector for a detector here that is named.
 */
export async function openRemoteDetector(
  detect: RemoteConfig,
  { log, meters, changed = () => {} }: RemoteParts,
): Promise<Detector> {
  await using stack = new AsyncDisposableStack()
  let opened: FallbackDetector | undefined
  const options: Omit<PoolOptions<never, never>, 'servers'> = {
    inFlight: detect.servers.inFlight,
    deadlineMs: detect.servers.deadline,
    log,
    meters,
    changed: () => opened?.poolChanged(),
  }
  const entry = entryOf(detect)
  const elsewhere =
    detect.runtime === 'remote' ? await openServers(detect, entry, options) : await openApi(detect, options)
  stack.use(elsewhere.pool)
  const local = await openLocal(detect, elsewhere.input, log)
  if (local) stack.use(local)
  const input = elsewhere.input ?? local?.input ?? inputOf(detect, entry)
  if (!input)
    throw failure(
      'INFERENCE_UNAVAILABLE',
      `${elsewhere.pool.trouble ?? 'No inference server was ready.'} What its model takes is not known either: set "detect.inputSize", or "detect.servers.local" to a model that takes over.`,
    )
  elsewhere.fit(input)
  if (local && local.model !== elsewhere.model)
    log.warn(
      { servers: elsewhere.model, here: local.model },
      'The inference servers and the detector here that takes over have different models: they find different faces.',
    )
  opened = new FallbackDetector({
    ...{ model: elsewhere.model, remote: elsewhere.remote, pool: elsewhere.pool },
    ...{ local, input, log, changed },
    deadlineMs: detect.servers.deadline,
    runtime: `${detect.runtime} at ${detect.servers.addresses.map(withoutLogin).join(', ')}`,
    scoreMin:
      detect.scoreMin === 'auto'
        ? (elsewhere.scoreMin ?? local?.scoreMin ?? entry?.scoreMin ?? SCORE_MIN_DEFAULT)
        : detect.scoreMin,
  })
  stack.move()
  return opened
}

/** By the Open Inference Protocol. */
async function openServers(
  detect: RemoteConfig,
  entry: CatalogEntry | undefined,
  options: Omit<PoolOptions<Ask, Tensors>, 'servers'>,
): Promise<Elsewhere> {
  const { servers, inputSize } = detect
  const model = askedModel(detect)
  const looks = new RemoteLooks({
    model: {
      name: model,
      label: `the model ${model} of the inference servers`,
      head: entry?.head,
      scoreMin: entry?.scoreMin,
      inputSize: entry?.input,
    },
    head: detect.head,
    inputSize,
    scoreMin: detect.scoreMin === 'auto' ? undefined : detect.scoreMin,
    scoreLow: SCORE_LOW,
    // Those that are asked, and as many that wait.
    looksMax: servers.addresses.length * servers.inFlight * 2,
  })
  const { token, credentials } = openCredentials(servers, options.log)
  await using stack = new AsyncDisposableStack()
  const opened = await Promise.all(
    servers.addresses.map(async (address) => {
      const transport = await openTransport({
        ...{ address, token, credentials },
        inFlight: servers.inFlight,
        answerBytesMax: INFERENCE_ANSWER_BYTES_MAX,
      })
      return stack.use(new InferenceServer(transport, model, looks))
    }),
  )
  const pool = await WorkerPool.open({ ...options, servers: opened })
  looks.pool = pool
  const connections = stack.move()
  return {
    model,
    remote: looks,
    input: looks.detector?.input,
    scoreMin: looks.detector?.scoreMin,
    fit: (input) => {
      looks.input = input
    },
    pool: {
      get isUp() {
        return pool.isUp
      },
      get trouble() {
        return pool.trouble
      },
      async [Symbol.asyncDispose]() {
        await pool[Symbol.asyncDispose]()
        await connections.disposeAsync()
      },
    },
  }
}

/** A product's own API. */
async function openApi(
  detect: RemoteConfig,
  options: Omit<PoolOptions<never, never>, 'servers'>,
): Promise<Elsewhere> {
  const { servers, runtime, inputSize } = detect
  const { token, credentials } = openCredentials(servers, options.log)
  const detector = await ApiDetector.open({
    ...options,
    name: runtime as 'compreface' | 'codeproject',
    addresses: servers.addresses,
    token,
    credentials,
    inputSize,
    scoreMin: detect.scoreMin === 'auto' ? undefined : detect.scoreMin,
    scoreLow: SCORE_LOW,
  })
  const { pool, model, input, scoreMin } = detector
  return {
    ...{ model, input, scoreMin, remote: detector, fit: () => {} },
    pool: {
      get isUp() {
        return pool.isUp
      },
      get trouble() {
        return pool.trouble
      },
      [Symbol.asyncDispose]: () => detector[Symbol.asyncDispose](),
    },
  }
}

/** Opened at the start, so that it is known to work. @param input what pictures are made for, where that is known already */
async function openLocal(
  detect: RemoteConfig,
  input: Input | undefined,
  log: Log,
): Promise<Detector | undefined> {
  const { local } = detect.servers
  if (local === 'none') return undefined
  const model = local === 'auto' ? detect.model : local
  const isProduct = detect.runtime !== 'remote'
  const own = {
    ...(model !== detect.model && { head: 'auto' as const, entry: undefined }),
    // How large a product's pictures are says nothing of a model here.
    ...((model !== detect.model || isProduct) && { inputSize: undefined }),
  }
  const options = { ...detectorOptions({ ...detect, model, ...own }), scoreLow: SCORE_LOW }
  try {
    if (!input || isProduct) return await openDetectorThread(options)
    const inputSize = { width: input.width, height: input.height }
    return await openDetectorThread({ ...options, inputSize }).catch(() => openDetectorThread(options))
  } catch (error) {
    if (local !== 'auto') throw error
    const { code, message } = asFailure(error)
    log.warn(
      { code },
      `No detector here takes over while no inference server can be asked: ${message} "detect.servers.local: none" says that none is to.`,
    )
    return undefined
  }
}

/** As the servers call it. Errors: CONFIG_INVALID. */
export function askedModel({ servers, model }: Pick<RemoteConfig, 'servers' | 'model'>): string {
  const asked = servers.model ?? model
  if (!/[/\\]/.test(asked)) return asked
  throw failure(
    'CONFIG_INVALID',
    `"detect.model" is a file (${model}), which inference servers do not know. Set "detect.servers.model" to the name of the model there.`,
  )
}

/** What the catalogue says of the model that servers are asked for, where it knows it. */
function entryOf(detect: RemoteConfig) {
  const { entry, servers, model, modelFolder, catalog } = detect
  if (entry && entry.name === (servers.model ?? model)) return entry
  try {
    return findEntry(readCatalog(modelFolder, catalog), servers.model ?? model)
  } catch {
    return undefined
  }
}

/** Where neither a server nor a detector here says it. */
function inputOf(detect: RemoteConfig, entry: CatalogEntry | undefined): Input | undefined {
  const size = detect.inputSize ?? entry?.input
  const head = detect.head === 'auto' ? entry?.head : detect.head
  return (
    size && { width: size.width, height: size.height, fit: head === 'ultraface' ? 'stretch' : 'letterbox' }
  )
}

function withoutLogin(address: string): string {
  const { protocol, host, pathname } = new URL(address)
  return `${protocol}//${host}${pathname.replace(/\/$/, '')}`
}
