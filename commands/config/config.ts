import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const config: Command = {
  summary: 'checks a configuration file',
  help: `Checks a configuration file without starting anything.

Usage: sightline config check FILE [--for PROGRAM]

Options:
  --for PROGRAM   the program of the file: device, broker, subscriber, console,
                  inference (default: detected from its keys)
  --help          this text

SIGHTLINE_... variables apply as they do for the program, and are listed. In
Compose some settings come from them: check the file there.
`,
  async run(argv) {
    const { values, positionals } = parse('config', () =>
      parseArgs({ args: argv, allowPositionals: true, options: { for: { type: 'string' } } }),
    )
    const [verb, file, ...rest] = positionals
    if (verb !== 'check' || file === undefined || rest.length > 0)
      throw failure('USAGE', 'Write: sightline config check FILE. See sightline config --help.')
    const { checkConfigFile } = await import('../../configurations.ts')
    const { sentences, warnings } = await checkConfigFile(file, values.for, process.env)
    for (const sentence of warnings) process.stderr.write(`${sentence}\n`)
    for (const sentence of sentences) process.stdout.write(`${sentence}\n`)
    return 0
  },
}
