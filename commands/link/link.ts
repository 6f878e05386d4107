import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const link: Command = {
  summary: 'prints an address that opens one crop, for a time',
  help: `Prints an address that opens one crop for whoever has it, until it expires.

Usage: sightline link [--config FILE] [--for 24h] CROP

CROP is the key of a crop in the bucket (site/device/camera/2026/.../ID.jpg) or
its id. In S3 the store checks the address itself; the crops of a folder are
shown by the subscriber. Of a bucket with "publicRead: true" the plain address
is printed, which does not expire.

Options:
  --config FILE   settings of the subscriber, YAML
  --for TIME      30m, 24h or 7d, which is the longest (default: 24h)
  --help          this text

With the credentials of a role, a link to S3 ends with them at the latest.
To end all links to a folder's crops: delete link.key in the inbox folder and
start the subscriber again.
`,
  async run(argv) {
    const { values, positionals } = parse('link', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: { config: { type: 'string' }, for: { type: 'string', default: '24h' } },
      }),
    )
    const [crop, ...rest] = positionals
    if (crop === undefined || rest.length > 0)
      throw failure('USAGE', 'Write: sightline link --config FILE CROP. See sightline link --help.')
    const { linkTo } = await import('./address.ts')
    const { address, note } = await linkTo(crop, values.for, values.config)
    process.stdout.write(`${address}\n`)
    process.stderr.write(`${note}\n`)
    return 0
  },
}
