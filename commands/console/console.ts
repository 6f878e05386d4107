import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

const VERBS = ['reindex', 'reconcile'] as const

export const consoleCommand: Command = {
  summary: 'what was seen, what is looked for: API, pages, notices',
  help: `The console: keeps every detection in a database, shows what runs and where
everything is, and serves pages and an API to the people of a users file. What
they say shall be looked for, it tells devices; its rules tell people.

Usage: sightline console [--config FILE]
       sightline console reindex [--config FILE]
       sightline console reconcile [--fix] [--config FILE]

reindex fills the database from the bucket alone, also while the console runs;
what is already there stays. reconcile compares the two and says what differs;
with --fix it mends the database. The console does that each night by itself.

Options:
  --config FILE   settings, YAML; conf/console.yaml has the defaults and
                  explains every key
  --fix           reconcile: adds what is missing to the database, and removes
                  what the bucket does not have
  --subscriber NAME
                  name of the subscriber that writes this bucket
                  (default: subscriber)
  --help          this text

Environment:
  SIGHTLINE_...      a setting by its path: SIGHTLINE_HTTP__PORT=9200 sets
                     "http.port"; it overrides the file. Text is used as it is,
                     a list or a section is YAML or JSON
  CONSOLE_RUN_TOKEN  16 characters or more; signs in as an admin while this run
                     lasts: /signin?token=..., or as a bearer token of the API

SIGTERM or Ctrl-C drains and stops the program; accepted data is on disk and
resumes at the next start.

Exit status: 0 success, 1 reconcile found differences, 64 wrong usage, 66 file
not found, 69 a service is unavailable, 73 to 75 disk or store error, 77
permission denied, 78 wrong configuration.
`,
  async run(argv) {
    const { values, positionals } = parse('console', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          config: { type: 'string' },
          fix: { type: 'boolean' },
          subscriber: { type: 'string', default: 'subscriber' },
        },
      }),
    )
    const [verb, ...rest] = positionals
    if (rest.length > 0 || (verb !== undefined && !(VERBS as readonly string[]).includes(verb)))
      throw failure(
        'USAGE',
        `Unknown "${positionals.join(' ')}". Write: sightline console, sightline console reindex or sightline console reconcile.`,
      )
    if (values.fix && verb !== 'reconcile')
      throw failure('USAGE', '--fix is for "sightline console reconcile".')
    const { config, subscriber } = values
    if (verb === undefined) return (await import('../../console/main.ts')).runConsole({ config })
    const { runReconcile, runReindex } = await import('./mend.ts')
    return verb === 'reindex'
      ? runReindex({ config, subscriber })
      : runReconcile({ config, subscriber, fix: values.fix ?? false })
  },
}
