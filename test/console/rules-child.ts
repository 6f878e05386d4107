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

/** The console's indexer with its rules, in a process that may be killed: `node rules-child.ts FOLDER`. Says when its inbox is empty. */

const folder = process.argv[2] ?? ''
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
const rules = await Rules.open({
  database,
  scenarios,
  notices: new Book({ onWake: () => {} }),
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
  rules,
  log,
  events: {
    applied: () => process.stdout.write('applied\n'),
    forgot: () => {},
    kept: () => {},
    invalid: () => {},
  },
})
process.stdout.write('ready\n')
const timer = setInterval(() => {
  if (inbox.size > 0) return
  clearInterval(timer)
  void rules.settled().then(() => process.stdout.write('empty\n'))
}, 20)
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
