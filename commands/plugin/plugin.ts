import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse, writeOneOf } from '../command.ts'

const USAGE = `Usage: sightline plugin new NAME [--folder FOLDER]
       sightline plugin test MODULE [options]
`

export const plugin: Command = {
  summary: 'code of your own that looks at faces: write one, try it',
  help: `Plugins: modules of your own that look at crops, frames and what viewers see
("process" in the device's configuration). docs/plugins.md explains them.

${USAGE}
new writes a folder with a module, its test and a README. test opens a module as
the agent does (a thread, a time limit), shows it frames with their faces, and
prints what it gave and how long it took.

Options:
  --folder FOLDER   new: where (default: NAME)
  --photo FILE      test: a photo
  --camera SOURCE   test: a camera, a video, a folder (default: testcard)
  --frames N        test: frames with faces that are shown (default: 5)
  --settings JSON   test: the plugin's settings
  --timeout TIME    test: its time limit (default: 2s)
  --out FILE        test: where the last picture for viewers is written
  --config FILE     test: the device's configuration: which model finds faces
  --help            this text

Exit status of test: 0 all was answered; 65, 66 the module cannot be used; 70,
75 a call failed, or took too long.
`,
  async run(argv) {
    const { values, positionals } = parse('plugin', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          folder: { type: 'string' },
          photo: { type: 'string' },
          camera: { type: 'string' },
          frames: { type: 'string' },
          settings: { type: 'string' },
          timeout: { type: 'string' },
          out: { type: 'string' },
          config: { type: 'string' },
        },
      }),
    )
    const [verb = '', of, ...more] = positionals
    if (!Object.hasOwn(OPTIONS, verb) || of === undefined || more.length > 0) writeOneOf('plugin', USAGE)
    const takes: readonly string[] = OPTIONS[verb as keyof typeof OPTIONS]
    for (const option of Object.keys(values))
      if (!takes.includes(option))
        throw failure(
          'USAGE',
          `"sightline plugin ${verb}" does not take --${option}. See sightline plugin --help.`,
        )
    if (verb === 'new') {
      const { newPlugin } = await import('./new.ts')
      return newPlugin(of, values.folder)
    }
    const { tryPlugin } = await import('./try.ts')
    return await tryPlugin({ ...values, module: of })
  },
}

const OPTIONS = {
  new: ['folder'],
  test: ['photo', 'camera', 'frames', 'settings', 'timeout', 'out', 'config'],
} as const
