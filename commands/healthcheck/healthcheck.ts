import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

export const healthcheck: Command = {
  summary: 'checks whether a program on this machine is healthy',
  help: `Checks whether a program on this machine is healthy: GET /healthz, at the
address under "http" in its settings. For containers, service managers and
scripts; for people there is "sightline doctor".

Usage: sightline healthcheck device|broker|subscriber|console|inference
                             [--config FILE]

Options:
  --config FILE   the settings that the program was started with
  --help          this text

It prints in a line what is unavailable. A broker whose bridge is disconnected
is healthy: it keeps messages until the bridge reconnects.

Exit status: 0 healthy, 1 unhealthy or no answer.
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
        'Write: sightline healthcheck device|broker|subscriber|console|inference [--config FILE]. See sightline healthcheck --help.',
      )
    const { ok, said } = await askHealth(program, values.config, process.env)
    process.stdout.write(`${said}\n`)
    return ok ? 0 : 1
  },
}
