import { consoleSchema } from '../../console/config.ts'
import { openDatabase } from '../../console/database/open.ts'
import { reconcile } from '../../console/reconcile.ts'
import { reindex } from '../../console/reindex.ts'
import { openBucket } from '../../lib/buckets/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'

/** `sightline console reindex` and `reconcile`: beside the console, or without it. */

const SHOW_EVERY_MS = 200
const SIGNALS = ['SIGINT', 'SIGTERM'] as const

interface Options {
  readonly config?: string
  /** Name of the subscriber that writes the bucket. */
  readonly subscriber: string
}

/** Errors: those of the configuration, the bucket and the database. @returns the exit status */
export async function runReindex({ config, subscriber }: Options): Promise<number> {
  await using parts = await open(config)
  const { database, bucket, signal } = parts
  const shown = line()
  const done = await reindex(
    database,
    bucket,
    {
      subscriber,
      onProgress: ({ looked, added, known, key }) =>
        shown.show(`${looked} objects, ${added} added, ${known} known  ${key}`),
    },
    signal,
  )
  shown.end()
  process.stdout.write(
    `${done.looked} objects in the ${bucket.description}: ${done.added} added, ${done.known} were known, ${done.unreadable} cannot be read.\n`,
  )
  for (const { key, fault } of done.faults) process.stdout.write(`  ${key}: ${fault}\n`)
  return 0
}

/** @returns 0 where nothing differs, or all of it was mended */
export async function runReconcile({
  config,
  subscriber,
  fix,
}: Options & { readonly fix: boolean }): Promise<number> {
  await using parts = await open(config)
  const { database, bucket, signal } = parts
  const shown = line()
  const found = await reconcile(
    database,
    bucket,
    { fix, subscriber, onProgress: ({ objects, rows }) => shown.show(`${objects} objects, ${rows} rows`) },
    signal,
  )
  shown.end()
  const { objects, rows, missingInDatabase, missingInBucket, different, twice, unreadable, mended } = found
  const differing = missingInDatabase + missingInBucket + different
  process.stdout.write(
    `${[
      `${objects} objects in the ${bucket.description}, ${rows} rows in the ${database.description}`,
      `  missing in the database   ${missingInDatabase}`,
      `  missing in the bucket     ${missingInBucket}`,
      `  different                 ${different}`,
      `  a second object of an id  ${twice}`,
      `  cannot be read            ${unreadable}`,
      ...(fix ? [`  mended                    ${mended}`] : []),
    ].join('\n')}\n`,
  )
  if (differing > 0 && !fix)
    process.stdout.write('Mend the database with: sightline console reconcile --fix\n')
  return differing - mended > 0 ? 1 : 0
}

async function open(file: string | undefined) {
  const config = loadConfig(consoleSchema, { file, env: process.env })
  const log = openLog(config.name, 'warn')
  const controller = new AbortController()
  const stop = () => controller.abort(new Error('stopped'))
  await using stack = new AsyncDisposableStack()
  for (const name of SIGNALS) {
    process.once(name, stop)
    stack.defer(() => void process.off(name, stop))
  }
  const database = stack.use(await openDatabase(config.database, log, controller.signal))
  const bucket = stack.use(await openBucket(config, controller.signal, 'read'))
  const opened = stack.move()
  return {
    database,
    bucket,
    signal: controller.signal,
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

/** What is being done, in a terminal's last line. */
function line() {
  const { stderr, env } = process
  const shows = stderr.isTTY && env.TERM !== 'dumb'
  let shownMs = Number.NEGATIVE_INFINITY
  return {
    show(text: string) {
      if (!shows || performance.now() - shownMs < SHOW_EVERY_MS) return
      shownMs = performance.now()
      stderr.write(`\r${text.slice(0, (stderr.columns || 80) - 1)}\x1b[K`)
    },
    end() {
      if (shows) stderr.write('\r\x1b[K')
    },
  }
}
