import { join } from 'node:path'
import { Database } from '../../console/database/database.ts'
import { Indexer } from '../../console/indexer.ts'
import { NewsRing } from '../../console/news.ts'
import { Book } from '../../console/notices/book.ts'
import { Rules } from '../../console/rules/rules.ts'
import { Documents } from '../../console/scenarios/documents.ts'
import { LiveScenarios } from '../../console/scenarios/scenarios.ts'
import { isActive, nextChange } from '../../console/scenarios/schedule.ts'
import { openLog } from '../../lib/log.ts'
import { Store } from '../../store/store.ts'

/**
 * The console's indexer with its rules, in a process that is killed: `node rules-child.ts FOLDER WHERE N`. It stops for ever at the
 * N-th time that it is there: `before` notices are written, `after` that and before the commit, `committed`; and says so. Says
 * when its inbox is empty.
 */

const [folder = '', where = '', times = ''] = process.argv.slice(2)
let left = Number(times)
/** A place at which it may be killed. */
async function at(place: string): Promise<void> {
  if (place !== where) return
  left -= 1
  if (left !== 0) return
  process.stdout.write('stopped\n')
  await new Promise(() => {})
}
const log = openLog('child', 'warn')
const store = await Store.open({ folder: join(folder, 'inbox') })
const bounds = {
  bytesMax: 1e9,
  entriesMax: 1e6,
  ageMsMax: Number.POSITIVE_INFINITY,
  whenFull: 'reject',
} as const
const inbox = store.queue('inbox', bounds)
const quarantine = store.queue('quarantine', bounds)
const database = await Database.open({ type: 'sqlite', file: join(folder, 'console.sqlite') })
const scenarios = await LiveScenarios.open({ documents: new Documents(database), log })
const book = new Book({ onWake: () => {} })
const rules = await Rules.open({
  database,
  scenarios,
  notices: {
    write: async (transaction, notices) => {
      await at('before')
      await book.write(transaction, notices)
      await at('after')
    },
    wake: () => {},
  },
  fleet: { cameras: [], devices: [], keepers: [] },
  schedule: { holds: isActive, changesAtMs: nextChange },
  log,
})
Indexer.open({
  store,
  inbox,
  quarantine,
  database,
  news: new NewsRing(),
  rules: {
    indexing: async (apply) => {
      const applied = await rules.indexing(apply)
      await at('committed')
      return applied
    },
  },
  log,
  events: {
    applied: () => {},
    forgot: () => {},
    kept: () => {},
    invalid: () => {},
  },
})
const timer = setInterval(() => {
  if (inbox.size > 0) return
  clearInterval(timer)
  void rules.settled().then(() => process.stdout.write('empty\n'))
}, 20)
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
