import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const healthcheck: Command = {
  summary: 'asks a program on this machine whether it is well',
  help: `Asks a program on this machine whether it is well: GET /healthz, at the address
that its settings have under "http". For containers, service managers and
scripts; for people there is "sightline doctor".

Usage: sightline healthcheck device|broker|subscriber [--config FILE]

Options:
  --config FILE   the settings that the program was started with
  --help          this text

It says in a line what is away. A broker whose bridge is away is well: it keeps
what comes until the bridge is back.

Exit status: 0 it is well, 1 it is not, or does not answer.
`,
  async run(argv) {
    const { values, positionals } = parse('healthcheck', () =>
      parseArgs({ args: argv, allowPositionals: true, options: { config: { type: 'string' } } }),
    )
    const { isHealthProgram, askHealth } = await import('./health.ts')
    const [program, ...rest] = positionals
    if (program === undefined || rest.length > 0 || !isHealthProgram(program))
      throw failure(
        'USAGE',
        'Write: sightline healthcheck device|broker|subscriber [--config FILE]. See sightline healthcheck --help.',
      )
    const { ok, said } = await askHealth(program, values.config, process.env)
    process.stdout.write(`${said}\n`)
    return ok ? 0 : 1
  },
}
