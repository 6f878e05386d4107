import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, maxOf, parse } from '../command.ts'

export const quarantine: Command = {
  summary: 'quarantined messages: shows, retries or drops them',
  help: `Shows messages that a subscriber or a console could not read, or that a
broker's bridge or a device could not deliver, with the reason; retries them; or
drops them. The program may be running or stopped.

Usage: sightline quarantine list FOLDER
       sightline quarantine show FOLDER NUMBER [--out FILE]
       sightline quarantine retry FOLDER NUMBER... | --all
       sightline quarantine drop FOLDER NUMBER... | --all

FOLDER is the one under "store" or "inbox" in the program's configuration (a
device's: the one in its "outbox" folder that is named after the device);
NUMBER is the first column of list. retry: a subscriber checks the message
again with its configuration (a stopped one with that of its last run), and puts
it into the inbox if it is valid now; so does a console with an announcement; a
broker sends it over the bridge again.

Options:
  --max N      entries that list shows (default: 100)
  --json       a line of JSON for each
  --out FILE   write the payload to a new file; - is standard output
  --all        all messages in quarantine now
  --help       this text

Exit status: 0 done, 66 store or message not found.
`,
  async run(argv) {
    const { values, positionals } = parse('quarantine', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          max: { type: 'string' },
          json: { type: 'boolean', default: false },
          out: { type: 'string' },
          all: { type: 'boolean', default: false },
        },
      }),
    )
    const [verb, folder, ...rest] = positionals
    const numbers = rest.map(numberOf)
    const [number] = numbers
    const entries = await import('./entries.ts')
    if (folder !== undefined && verb === 'list' && numbers.length === 0) {
      process.stdout.write(await entries.list(folder, maxOf(values.max, 100), values.json))
      return 0
    }
    if (folder !== undefined && verb === 'show' && number !== undefined && numbers.length === 1) {
      await entries.show(folder, number, values.out, values.json, print)
      return 0
    }
    if (folder !== undefined && (verb === 'retry' || verb === 'drop') && numbers.length > 0 !== values.all)
      return entries.act(folder, { action: verb, numbers: values.all ? 'all' : numbers }, values.json, print)
    throw failure(
      'USAGE',
      'Write: sightline quarantine list FOLDER, or show, retry or drop with FOLDER and NUMBER. See sightline quarantine --help.',
    )
  },
}

const print = (text: string) => void process.stdout.write(text)

function numberOf(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw failure('USAGE', `Invalid message number "${text}". Use one from the first column of list.`)
  return Number(text)
}
