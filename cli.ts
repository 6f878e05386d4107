import { readFileSync } from 'node:fs'
import { certs } from './commands/certs/certs.ts'
import type { Command } from './commands/command.ts'
import { config } from './commands/config/config.ts'
import { consoleCommand } from './commands/console/console.ts'
import { demo } from './commands/demo/demo.ts'
import { deploy } from './commands/deploy/deploy.ts'
import { detect } from './commands/detect/detect.ts'
import { doctor } from './commands/doctor/doctor.ts'
import { forget } from './commands/forget/forget.ts'
import { healthcheck } from './commands/healthcheck/healthcheck.ts'
import { link } from './commands/link/link.ts'
import { models } from './commands/models/models.ts'
import { plugin } from './commands/plugin/plugin.ts'
import { preview } from './commands/preview/preview.ts'
import { broker, device, inference, subscriber } from './commands/programs.ts'
import { quarantine } from './commands/quarantine/quarantine.ts'
import { queue } from './commands/queue/queue.ts'
import { secrets } from './commands/secrets/secrets.ts'
import { streams } from './commands/streams/streams.ts'
import { users } from './commands/users/users.ts'
import { verify } from './commands/verify/verify.ts'
import { asFailure, failure, systemCode } from './lib/errors.ts'
import { followLauncher } from './lib/launcher.ts'

/** `sightline <command>`. */
const COMMANDS: Readonly<Record<string, Command>> = {
  demo,
  device,
  preview,
  broker,
  subscriber,
  console: consoleCommand,
  inference,
  config,
  doctor,
  models,
  detect,
  plugin,
  healthcheck,
  queue,
  quarantine,
  forget,
  link,
  users,
  streams,
  certs,
  verify,
  secrets,
  deploy,
}

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}   ${summary}`)
  return `Sightline: faces from camera to bucket over MQTT, with nothing lost on the way.

Usage: sightline <command> [options]

Commands:
${lines.join('\n')}

  sightline <command> --help   help on a command
  sightline --version          the version

Start with: sightline demo
`
}

async function main(argv: string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(usage())
    return name === undefined ? 64 : 0
  }
  if (name === '--version' || name === '-v') {
    const { version } = JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8')) as {
      version: string
    }
    process.stdout.write(`sightline ${version} (Node ${process.versions.node})\n`)
    return 0
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command)
    throw failure('USAGE', `Unknown command "${name}". Use one of: ${Object.keys(COMMANDS).join(', ')}.`)
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(command.help)
    return 0
  }
  if (command.isEndless?.(rest)) readerGone = () => process.kill(process.pid, 'SIGTERM')
  return command.run(rest)
}

/** `sightline ... | head -1`: the reader has what it wanted. What is under way is done to its end. */
let readerGone = () => {}
process.stdout.on('error', (error) => {
  if (systemCode(error) === 'EPIPE') return readerGone()
  process.stderr.write(`FOLDER_UNWRITABLE: Cannot write to standard output (${error.message}).\n`)
  process.exit(73)
})
process.stderr.on('error', () => {}) // nobody is left who could be told

followLauncher({ restarts: Number(process.env.WATCHDOG_RESTARTS ?? 0) })
try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const fault = asFailure(error)
  process.stderr.write(`${fault.code}: ${fault.message}\n`)
  if (fault.code === 'UNEXPECTED' && fault.cause instanceof Error)
    process.stderr.write(`${fault.cause.stack}\n`)
  process.exitCode = fault.exitStatus
}
