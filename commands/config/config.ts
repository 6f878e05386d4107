import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const config: Command = {
  summary: 'checks a configuration file',
  help: `Checks a configuration file without starting anything.

Usage: sightline config check FILE [--for device|broker|subscriber]

Options:
  --for PROGRAM   whose file it is; otherwise its keys tell
  --help          this text
`,
  async run(argv) {
    const { values, positionals } = parse('config', () =>
      parseArgs({ args: argv, allowPositionals: true, options: { for: { type: 'string' } } }),
    )
    const [verb, file, ...rest] = positionals
    if (verb !== 'check' || file === undefined || rest.length > 0)
      throw failure('USAGE', 'Write: sightline config check FILE. See sightline config --help.')
    const { checkConfigFile } = await import('../../configurations.ts')
    process.stdout.write(`${await checkConfigFile(file, values.for)}\n`)
    return 0
  },
}
