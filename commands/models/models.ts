import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'
import type { Verb } from './do.ts'

export const models: Command = {
  summary: 'face detectors: list, download and check them, add your own',
  help: `Face detectors by name. One is built in; the others are downloaded once, from
their publishers, and checked against their checksums. Set "detect.model" in the
device's configuration to a name.

Usage: sightline models list
       sightline models pull NAME...
       sightline models verify [NAME...]
       sightline models info NAME
       sightline models import FILE

pull resumes where it was interrupted, and tries each source in turn. verify
checks the downloaded models (or those named) against their checksums. import
adds your own ONNX file, if Sightline can run it, and writes its entry into your
own catalogue: "detect.catalog", or catalog.yaml beside the models.

Options:
  --config FILE     the device's configuration: model folder and catalogue
  --from FOLDER     pull: from files in this folder, without a network
  --all             pull: every model of the catalogue
  --name NAME       import: name of the model (default: from its file)
  --head HEAD       import: its family, if it is not recognised
  --licence TEXT    import: its licence
  --json            list, info, verify: as JSON
  --help            this text
`,
  async run(argv) {
    const { values, positionals } = parse('models', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          config: { type: 'string' },
          from: { type: 'string' },
          all: { type: 'boolean' },
          name: { type: 'string' },
          head: { type: 'string' },
          licence: { type: 'string' },
          json: { type: 'boolean' },
        },
      }),
    )
    const [verb = '', ...names] = positionals
    const takes = VERBS[verb]
    if (takes === undefined)
      throw failure(
        'USAGE',
        'Write: sightline models list, pull, verify, info or import. See sightline models --help.',
      )
    const { config, ...options } = values
    for (const option of Object.keys(options))
      if (!takes.options.includes(option))
        throw failure(
          'USAGE',
          `"sightline models ${verb}" does not take --${option}. See sightline models --help.`,
        )
    const { all } = options
    if (names.length < (all ? 0 : takes.min) || names.length > (all ? 0 : takes.max))
      throw failure('USAGE', `${takes.usage} See sightline models --help.`)
    const { runModels } = await import('./do.ts')
    return await runModels({ verb: verb as Verb, names, config, ...options })
  },
}

const VERBS: Readonly<
  Record<string, { min: number; max: number; options: readonly string[]; usage: string }>
> = {
  list: { min: 0, max: 0, options: ['json'], usage: 'Write: sightline models list.' },
  pull: {
    min: 1,
    max: 100,
    options: ['from', 'all'],
    usage: 'Write: sightline models pull NAME, or sightline models pull --all.',
  },
  verify: { min: 0, max: 100, options: ['json'], usage: 'Write: sightline models verify [NAME...].' },
  info: { min: 1, max: 1, options: ['json'], usage: 'Write: sightline models info NAME.' },
  import: {
    min: 1,
    max: 1,
    options: ['name', 'head', 'licence'],
    usage: 'Write: sightline models import FILE.',
  },
}
