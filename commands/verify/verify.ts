import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { isCameraPath } from '../../wire/users.ts'
import { type Command, parse, writeOneOf } from '../command.ts'

const USAGE = `Usage: sightline verify --certs DIR FILE...
       sightline verify --certs DIR --config FILE --camera SITE/DEVICE/CAMERA
                        [--from TIME] [--to TIME]
`

export const verify: Command = {
  summary: 'signatures: who signed, and whether anything is missing',
  help: `Checks the signatures of crops and clips: who signed each, whether a bit of it
has changed since, and whether files were removed between them or put into
another order. Looks at files, or at what a subscriber's bucket has of a camera.

${USAGE}
FILE may be a folder, with all below it, or a pattern in quotes: 'out/*.mp4'.
Files of a camera form a chain: each names the one before. So what was removed
from the middle is noticed; what was removed from the end is noticed once a
later file is there. A file verifies by the certificate that was valid when it
was captured, by the clock of its device.

Options:
  --certs DIR    ca.pem and the signers' certificates: the folder of "sightline
                 certs", or one with copies; no keys are needed
  --config FILE  configuration of the subscriber that writes the bucket
  --camera NAME  the camera, as SITE/DEVICE/CAMERA
  --from TIME    what was captured from then on: 2026-11-28 or
                 2026-11-28T10:30, in UTC (default: all)
  --to TIME      what was captured before then (default: all)
  --all          a line for each file, not only for those that are wrong
  --json         a line of JSON for each file and each finding, then the totals
  --help         this text

Exit status: 0 all are signed and none is missing, 1 something is wrong, 66
nothing found.
`,
  async run(argv) {
    const { values, positionals } = parse('verify', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          certs: { type: 'string' },
          config: { type: 'string' },
          camera: { type: 'string' },
          from: { type: 'string' },
          to: { type: 'string' },
          all: { type: 'boolean', default: false },
          json: { type: 'boolean', default: false },
        },
      }),
    )
    const { certs, config, camera, from, to, all, json } = values
    const ofFiles = positionals.length > 0
    if (certs === undefined || ofFiles === (camera !== undefined)) return writeOneOf('verify', USAGE)
    if (ofFiles && (from !== undefined || to !== undefined || config !== undefined))
      throw failure('USAGE', '--config, --from and --to are for --camera. See sightline verify --help.')
    if (camera !== undefined && !isCameraPath(camera))
      throw failure('USAGE', `Invalid camera "${camera}". Write SITE/DEVICE/CAMERA.`)
    const { readSigners } = await import('../../lib/signatures/folder.ts')
    const signers = readSigners(certs)
    const { Report } = await import('./report.ts')
    if (camera === undefined) {
      const { countFiles, readFiles } = await import('./files.ts')
      const files = await countFiles(positionals)
      const report = new Report(signers, { json, all: all || files.count <= SHOWN_MAX, bytes: files.bytes })
      return report.of(readFiles(positionals))
    }
    const { readCamera } = await import('./bucket.ts')
    const range = { fromMs: timeOf('--from', from), toMs: timeOf('--to', to) }
    return new Report(signers, { json, all }).of(readCamera({ config, camera, ...range, env: process.env }))
  },
}

/** So few files are all named. */
const SHOWN_MAX = 20

/** @returns milliseconds since 1970 */
function timeOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const hasZone = /T.*(Z|[+-]\d\d:\d\d)$/.test(text)
  const ms = /^\d{4}-\d\d-\d\d$/.test(text)
    ? Date.parse(text)
    : /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text)
      ? Date.parse(hasZone ? text : `${text}Z`)
      : Number.NaN
  if (Number.isNaN(ms))
    throw failure('USAGE', `${option} needs a time such as 2026-11-28T10:30, not "${text}".`)
  return ms
}
