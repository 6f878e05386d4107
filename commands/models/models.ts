import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'
import type { Verb } from './do.ts'

export const models: Command = {
  summary: 'detectors and classifiers: list, download, check, add your own',
  help: `Face detectors and classifiers by name. Some are built in; the others are
downloaded once, from their publishers, and checked against their checksums. In
the device's configuration, "detect.model" names a detector and "process" lists
classifiers.

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
  --labels A,B,...  import: a classifier, and its labels in the output's order
  --activation NAME import: softmax, sigmoid or none (default: as a trial shows)
  --channels ORDER  import: rgb or bgr (default: rgb)
  --mean M          import: a number, or R,G,B; a byte becomes (byte - mean) *
  --scale S         scale (default: mean 0, scale 1/255)
  --input WxH       import: a classifier's input size, if any fits it
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
          labels: { type: 'string' },
          activation: { type: 'string' },
          channels: { type: 'string' },
          mean: { type: 'string' },
          scale: { type: 'string' },
          input: { type: 'string' },
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
    options: ['name', 'head', 'licence', 'labels', 'activation', 'channels', 'mean', 'scale', 'input'],
    usage: 'Write: sightline models import FILE.',
  },
}
