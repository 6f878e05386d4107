import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const link: Command = {
  summary: 'prints an address that opens a crop or a clip for a limited time',
  help: `Prints an address that opens one crop, or one chunk of a recording, for anyone
who has it, until it expires.

Usage: sightline link [--config FILE] [--for 24h] CROP

CROP is the key of a crop in the bucket (site/device/camera/2026/.../ID.jpg), of
a chunk (recordings.private/.../ID.mp4), or the id of either. S3 checks the
address itself; what lies in a folder is served by the subscriber. Of a crop in
a bucket with "publicRead: true" it prints the plain address, which does not
expire; recordings are never public.

Options:
  --config FILE   settings of the subscriber, YAML
  --for TIME      30m, 24h, at most 7d (default: 24h)
  --help          this text

With the credentials of a role, a link to S3 expires no later than they do.
To end all links to a folder's crops: delete link.key in the inbox folder and
restart the subscriber.
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
