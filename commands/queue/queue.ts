import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, maxOf, parse } from '../command.ts'

export const queue: Command = {
  summary: 'shows what waits in the store of a program',
  help: `Shows what the store of a broker, a subscriber, a console or a device holds on
disk. The program may
be running or stopped. Nothing is changed.

Usage: sightline queue stats FOLDER
       sightline queue ls FOLDER QUEUE

FOLDER is the one under "store" or "inbox" in the program's configuration; a
device's is the one in its "outbox" folder that is named after the device.
stats lists the queues with their books; ls lists a queue's entries, oldest
first. QUEUE is a name from stats, a client id, or a bridge's name.

Options:
  --max N     entries that ls lists (default: 100)
  --json      a line of JSON for each
  --help      this text

Exit status: 0 done, 66 store or queue not found.
`,
  async run(argv) {
    const { values, positionals } = parse('queue', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: { max: { type: 'string' }, json: { type: 'boolean', default: false } },
      }),
    )
    const [verb, folder, name, ...rest] = positionals
    const { queueList, queueStats } = await import('./list.ts')
    if (verb === 'stats' && folder !== undefined && name === undefined)
      process.stdout.write(await queueStats(folder, values.json))
    else if (verb === 'ls' && folder !== undefined && name !== undefined && rest.length === 0)
      process.stdout.write(await queueList(folder, name, maxOf(values.max, 100), values.json))
    else
      throw failure(
        'USAGE',
        'Write: sightline queue stats FOLDER, or sightline queue ls FOLDER QUEUE. See sightline queue --help.',
      )
    return 0
  },
}
