import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const doctor: Command = {
  summary: 'checks this machine and what configurations name',
  help: `Checks the usual causes when something does not work, and says what to do:
configuration, ports, folders, clock, certificates, brokers, bucket, models,
plugins, cameras, streams, signing.

Usage: sightline doctor [--config FILE ...] [--json]

Options:
  --config FILE   settings of a program, YAML; repeatable; without it only the
                  machine is checked
  --json          a line of JSON for each check, and one with the sum
  --help          this text

Run it as the user that the programs run as, in the same folder. Running
programs are not disturbed. The tests are real, and cleaned up afterwards: files
in the folders, an object below gallery/ in the bucket (an S3 bucket also gets
sightline.txt, as the subscriber writes it, and with "publicRead" is public
during the test), connections with their own client id, a small message to
<prefix>/<site>/<device>/doctor/event.

With one file, SIGHTLINE_... variables apply as they do for the program.

Exit status: 0 nothing failed (warnings do not count), 1 something failed.
`,
  async run(argv) {
    const { values } = parse('doctor', () =>
      parseArgs({
        args: argv,
        options: { config: { type: 'string', multiple: true }, json: { type: 'boolean', default: false } },
      }),
    )
    const files = values.config ?? []
    const twice = files.find((file, at) => files.indexOf(file) !== at)
    if (twice !== undefined) throw failure('USAGE', `Duplicate file ${twice}. Give each file once.`)
    const { examine } = await import('./examine.ts')
    return examine(files, { json: values.json, env: process.env, output: process.stdout })
  },
}
