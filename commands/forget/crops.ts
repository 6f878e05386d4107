import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { type BrokerConfig, brokerSchema, checkBrokerConfig } from '../../broker/config.ts'
import { brokerForget } from '../../broker/forget.ts'
import { sendersBelow } from '../../broker/message.ts'
import { Persistence } from '../../broker/persistence.ts'
import { Sessions } from '../../broker/sessions.ts'
import { Announcements } from '../../cloud-subscriber/announcements.ts'
import {
  checkSubscriberConfig,
  type SubscriberConfig,
  subscriberSchema,
} from '../../cloud-subscriber/config.ts'
import { subscriberForget } from '../../cloud-subscriber/forget.ts'
import { openLanes } from '../../cloud-subscriber/lanes.ts'
import { KeepMarks } from '../../cloud-subscriber/recordings/keep-marks.ts'
import { programOf } from '../../configurations.ts'
import { checkDeviceConfig, type DeviceConfig, deviceSchema } from '../../device/config.ts'
import { outboxFolder } from '../../device/link/outbox.ts'
import { outboxForget } from '../../device/link/outbox-commands.ts'
import { openBucket } from '../../lib/buckets/open.ts'
import { loadConfig } from '../../lib/config.ts'
import type { Handler } from '../../lib/control.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { inOneLine } from '../../lib/table.ts'
import type { QueueBounds } from '../../store/queue.ts'
import type { Store } from '../../store/store.ts'
import { assertStore } from '../../store/view.ts'
import { FORGET_COMMAND, type Forgotten, type Selection } from '../../wire/forget.ts'
import { actOnStore } from '../held-store.ts'

/** `sightline forget`. */

export interface ForgetCommand {
  readonly selection: Selection
  readonly files: readonly string[]
  readonly dryRun: boolean
  readonly yes: boolean
  readonly env: NodeJS.ProcessEnv
  readonly print?: (text: string) => void
}

/** A program whose store is here. */
interface Keeper {
  readonly title: string
  readonly folder: string
  /** Nearer to the camera comes first: what leaves it meanwhile is found at the next one. */
  readonly order: number
  readonly s3: boolean
  /** There is none where it never had to keep anything. */
  readonly mayLack?: true
  readonly handlerOf: (store: Store) => Handler
}

/**
 * @returns the exit status. Errors: USAGE, STORE_NOT_FOUND, STORE_LOCKED, those of loadConfig, of a bucket, and of the
 *   programs that run
 */
export async function forgetCrops(command: ForgetCommand): Promise<number> {
  const { selection, files, dryRun, yes, env, print = (text) => void process.stdout.write(text) } = command
  const keepers = files.map((file) => keeperOf(file, env)).sort((a, b) => a.order - b.order)
  for (const { folder, mayLack } of keepers) if (!mayLack || existsSync(folder)) assertStore(folder)
  const onTerminal = process.stdin.isTTY && process.stdout.isTTY
  if (!dryRun && !yes) {
    if (!onTerminal)
      throw failure(
        'USAGE',
        'Cannot ask for confirmation without a terminal. Write --yes to remove, or --dry-run to count.',
      )
    const { removed } = await run(keepers, selection, true, print)
    if (removed === 0) return 0
    if (!(await confirmed(removed))) return 1
  }
  const { removed, left } = await run(keepers, selection, dryRun, print)
  print(`${dryRun ? 'To remove' : 'Removed'} in total: ${removed}.\n`)
  if (left > 0)
    print(
      `${left} entries in the gallery index of other subscribers still list such crops (their pictures are ${dryRun ? 'to be removed' : 'removed'}): run this with their configuration, on their machine.\n`,
    )
  print(notReached(keepers))
  return 0
}

async function run(
  keepers: readonly Keeper[],
  selection: Selection,
  dryRun: boolean,
  print: (text: string) => void,
): Promise<{ removed: number; left: number }> {
  let removed = 0
  let left = 0
  for (const { title, folder, handlerOf, mayLack } of keepers) {
    print(`${title}\n`)
    let nothing = true
    if (mayLack && !existsSync(folder)) {
      print('  nothing\n')
      continue
    }
    for await (const item of actOnStore(folder, FORGET_COMMAND, { selection, dryRun }, (store) => ({
      [FORGET_COMMAND]: handlerOf(store),
    }))) {
      const { place, count, left: isLeft } = item as Forgotten
      if (isLeft) left += count
      else removed += count
      if (count === 0) continue
      nothing = false
      const what = isLeft
        ? 'listed by another subscriber, which must remove them'
        : dryRun
          ? 'to remove'
          : 'removed'
      print(`  ${inOneLine(place)}: ${count} ${what}\n`)
    }
    if (nothing) print('  nothing\n')
  }
  return { removed, left }
}

function keeperOf(file: string, env: NodeJS.ProcessEnv): Keeper {
  switch (programOf(file)) {
    case 'broker': {
      const config = loadConfig(brokerSchema, { file, env })
      checkBrokerConfig(config)
      return brokerKeeper(file, config)
    }
    case 'subscriber': {
      const config = loadConfig(subscriberSchema, { file, env })
      checkSubscriberConfig(config)
      return subscriberKeeper(file, config)
    }
    case 'device': {
      const config = loadConfig(deviceSchema, { file, env })
      checkDeviceConfig(config)
      return deviceKeeperOf(file, config)
    }
    default:
      throw failure('USAGE', `${file} is not a configuration of a device, a broker or a subscriber.`)
  }
}

/** Nothing is added where the queues are missing. */
const NO_BOUNDS: QueueBounds = {
  entriesMax: Number.POSITIVE_INFINITY,
  bytesMax: Number.POSITIVE_INFINITY,
  ageMsMax: Number.POSITIVE_INFINITY,
  whenFull: 'reject',
}

/** Its outbox; what it has in memory is not reached, and goes with it. */
function deviceKeeperOf(file: string, { site, device, outbox }: DeviceConfig): Keeper {
  const folder = outboxFolder(outbox.folder, { site, device })
  return {
    title: `device ${site}/${device} (${file}), outbox ${folder}:`,
    folder,
    order: -1,
    s3: false,
    mayLack: true,
    handlerOf: outboxForget,
  }
}

function brokerKeeper(file: string, { name, store, bridges, topicPrefix }: BrokerConfig): Keeper {
  return {
    title: `broker ${name} (${file}), store ${store.folder}:`,
    folder: store.folder,
    order: bridges.length > 0 ? 0 : 1,
    s3: false,
    handlerOf: (store) => {
      const sessions = Sessions.open({ store, declared: [], bounds: NO_BOUNDS, inFlightMax: 1 })
      const senderOf = sendersBelow(topicPrefix).ofTopic
      const options = {
        store,
        sessions,
        custody: true,
        retained: NO_BOUNDS,
        senderOf,
        userOf: () => undefined,
      }
      return brokerForget(store, new Persistence(options))
    },
  }
}

function subscriberKeeper(file: string, config: SubscriberConfig): Keeper {
  const { name, inbox, bucket, announce } = config
  return {
    title: `subscriber ${name} (${file}), inbox ${inbox.folder}:`,
    folder: inbox.folder,
    order: 2,
    s3: bucket.type === 's3',
    handlerOf: (store) =>
      async function* (args, signal) {
        // As private: a public one would have its policy written again.
        await using bucket = await openBucket({ ...config, bucket: { ...config.bucket, publicRead: false } })
        // Said when it starts again.
        const announcements = announce.enabled ? Announcements.open(store) : undefined
        yield* subscriberForget({
          store,
          lanes: openLanes(store),
          quarantine: store.queue('quarantine', NO_BOUNDS),
          bucket,
          keep: KeepMarks.open({ bucket, store, announcements }),
          writer: name,
          announcements,
          log: openLog(name, 'warn'),
        })(args, signal)
      },
  }
}

async function confirmed(count: number): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  try {
    const answer = await terminal.question(`Permanently remove these ${count}? Type yes: `)
    return answer.trim().toLowerCase() === 'yes'
  } finally {
    terminal.close()
  }
}

function notReached(keepers: readonly Keeper[]): string {
  return `Not reached from here:
  - crops on other machines, and in the memory of devices: run this there too, edge before cloud
  - crops in transit: run it again when the cameras are idle
  - backups, and copies that people have made
${keepers.some(({ s3 }) => s3) ? '  - older versions, if the S3 bucket keeps them: its own rules remove those\n' : ''}`
}
