import { setTimeout as sleep } from 'node:timers/promises'
import { readSecret } from '../../lib/config.ts'
import { asFailure } from '../../lib/errors.ts'
import { ready } from '../../lib/launcher.ts'
import type { Log } from '../../lib/log.ts'
import type { ConsoleConfig } from '../config.ts'
import { Database } from './database.ts'

const RETRY_MS = 2_000

/**
 * The database, once it can be reached: after a power cut everything starts at once, and the inbox takes the announcements
 * meanwhile. Whatever trying again does not cure ends the program. Errors: those of the database.
 */
export async function openDatabase(
  config: ConsoleConfig['database'],
  log: Log,
  signal: AbortSignal,
): Promise<Database> {
  const options =
    config.type === 'sqlite'
      ? { type: config.type, file: config.path }
      : {
          type: config.type,
          url: config.url,
          password: readSecret('"database"', config),
          connectionsMax: config.connectionsMax,
          queryMsMax: config.queryTimeout,
        }
  for (;;)
    try {
      return await Database.open(options)
    } catch (error) {
      signal.throwIfAborted()
      const { code, message } = asFailure(error)
      if (code !== 'DATABASE_UNREACHABLE' && code !== 'DISK_FULL') throw error
      log.warn({ code }, `${message} Trying again; announcements wait in the inbox meanwhile.`)
      ready() // the rest is up to the database
      await sleep(RETRY_MS, undefined, { signal })
    }
}
