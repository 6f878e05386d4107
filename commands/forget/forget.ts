import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import type { Selection } from '../../wire/forget.ts'
import { type Command, parse } from '../command.ts'

export const forget: Command = {
  summary: 'removes what there is of a device, camera, day or stretch',
  help: `Removes crops and clips from everything that programs on this machine keep:
outbox, queues, retained messages, quarantine, inbox, bucket and gallery index.
Prints what it removed, and where. The programs may be running or stopped. Later
crops are stored as usual, except copies of those removed from the bucket.

The console's database is told by the subscriber (its "announce"), also later:
it needs no run of its own.

Usage: sightline forget WHAT --config FILE [--config FILE ...]

WHAT is one of:
  --device SITE/DEVICE          all of a device
  --camera SITE/DEVICE/CAMERA   all of a camera; with --from and --to, only its
                                recordings of that stretch
  --day DAY                     all of a day, in UTC: 2026-11-20
  --id ID                       one crop or one chunk of a recording

Options:
  --from TIME     of a stretch: 2026-11-28T10:15 (UTC), 2026-11-28T11:15+01:00
  --to TIME       its end
  --config FILE   the configuration of a device, a broker or a subscriber here;
                  run this in the folder where they are started: folders in it
                  are relative to that
  --dry-run       only count
  --yes           do not ask
  --help          this text

Exit status: 0 done, 1 not confirmed, 75 try again.
`,
  async run(argv) {
    const { values } = parse('forget', () =>
      parseArgs({
        args: argv,
        options: {
          device: { type: 'string' },
          camera: { type: 'string' },
          day: { type: 'string' },
          id: { type: 'string' },
          from: { type: 'string' },
          to: { type: 'string' },
          config: { type: 'string', multiple: true },
          'dry-run': { type: 'boolean', default: false },
          yes: { type: 'boolean', default: false },
        },
      }),
    )
    const { config: files = [], yes, 'dry-run': dryRun } = values
    if (files.length === 0)
      throw failure('USAGE', 'Write --config FILE for each device, broker and subscriber on this machine.')
    const { selectionSchema } = await import('../../wire/forget.ts')
    const given = KINDS.filter((kind) => values[kind] !== undefined)
    const [kind] = given
    if (kind === undefined || given.length > 1)
      throw failure('USAGE', `Give one of these: ${Object.values(WRITTEN).join(', ')}.`)
    const text = values[kind] as string
    const isStretch = values.from !== undefined || values.to !== undefined
    if (isStretch && kind !== 'camera') throw failure('USAGE', '--from and --to are for --camera.')
    const camera = selectionOf(kind, text)
    const selection = selectionSchema.safeParse(
      isStretch && camera ? { ...camera, kind: 'stretch', ...stretchOf(values.from, values.to) } : camera,
    )
    if (!selection.success)
      throw failure(
        'USAGE',
        `Invalid ${SAID[kind]} ${JSON.stringify(text)}. Write ${WRITTEN[kind]}.`,
        selection.error,
      )
    const { forgetCrops } = await import('./crops.ts')
    return forgetCrops({ selection: selection.data as Selection, files, dryRun, yes, env: process.env })
  },
}

const KINDS = ['device', 'camera', 'day', 'id'] as const
type Kind = (typeof KINDS)[number]
const WRITTEN: Readonly<Record<Kind, string>> = {
  device: '--device SITE/DEVICE',
  camera: '--camera SITE/DEVICE/CAMERA',
  day: '--day 2026-11-20',
  id: '--id ID',
}
const SAID: Readonly<Record<Kind, string>> = {
  device: 'device',
  camera: 'camera',
  day: 'date',
  id: 'crop id',
}

/** Errors: USAGE */
function stretchOf(from: string | undefined, to: string | undefined) {
  const [fromMs, toMs] = [from, to].map((text) => {
    const [, day, time = 'T00:00', zone = 'Z'] = TIME.exec(text ?? '') ?? []
    const ms = Date.parse(`${day}${time}${zone}`)
    if (Number.isNaN(ms))
      throw failure(
        'USAGE',
        `--from and --to both need a time such as 2026-11-28T10:15, not ${JSON.stringify(text ?? '')}.`,
      )
    return ms
  }) as [number, number]
  if (fromMs >= toMs) throw failure('USAGE', '--to must be later than --from.')
  return { fromMs, toMs }
}

const TIME = /^(\d{4}-\d\d-\d\d)(?:(T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/

function selectionOf(kind: Kind, text: string): object | undefined {
  if (kind === 'day' || kind === 'id') return { kind, [kind]: text }
  const names = kind === 'device' ? ['site', 'device'] : ['site', 'device', 'camera']
  const parts = text.split('/')
  if (parts.length !== names.length) return undefined
  return { kind, ...Object.fromEntries(names.map((name, at) => [name, parts[at]])) }
}
