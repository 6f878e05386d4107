import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { asFailure, failure } from './lib/errors.ts'
import type { RunOptions } from './lib/service.ts'

/** `sightline <command>`. Each command loads only what it needs. */

interface Command {
  readonly summary: string
  readonly help: string
  run(argv: string[]): Promise<number>
}

const CONFIG_HELP = (program: string, file: string) => `Usage: sightline ${program} [--config FILE]

Options:
  --config FILE   settings, YAML; ${file} holds the defaults and
                  explains every key
  --help          this text

Environment:
  SIGHTLINE_...   a setting by its path: SIGHTLINE_HTTP__PORT=9200 sets
                  "http.port"; it wins over the file

SIGTERM or Ctrl-C drains and ends the program; what was accepted is on disk and
goes on at the next start.

Exit status: 0 ended well, 64 wrong usage, 69 something it needs is away,
77 not allowed, 78 wrong configuration.
`

function program(
  name: string,
  summary: string,
  about: string,
  file: string,
  load: () => Promise<(options: RunOptions) => Promise<number>>,
): Command {
  return {
    summary,
    help: `${about}\n\n${CONFIG_HELP(name, file)}`,
    async run(argv) {
      const { values } = parse(name, () => parseArgs({ args: argv, options: { config: { type: 'string' } } }))
      return (await load())(values)
    },
  }
}

const COMMANDS: Readonly<Record<string, Command>> = {
  demo: {
    summary: 'the whole line on this machine, from camera to gallery',
    help: `Runs the whole line on this machine and shows it live: a capture agent, an edge
broker, a cloud broker and a subscriber, four programs, each from its own file
in conf/. Press u to unplug the link to the cloud and to plug it in again;
nothing is lost.

Usage: sightline demo [options]

Options:
  --source SOURCE   what to look at (default: testcard, a scene of drawn faces):
                    a video, a photo, a folder of photos, /dev/video0,
                    rtsp://..., rtmp://... or http://...
  --model MODEL     blazeface, or the path of an ONNX file (YuNet, BlazeFace)
  --pace PACE       realtime or asfast, for files
  --loop            start again when the source ends
  --for DURATION    end by itself after so long (20s, 5m), with a line a second
                    instead of the live view
  --data DIR        keep everything of the run in this folder (default: a
                    temporary one, removed at the end)
  --help            this text

Without a terminal it prints a line a second, and ends when the source ends. At
the end it sums up the books; exit status 0 says that they balance.
`,
    async run(argv) {
      const { values } = parse('demo', () =>
        parseArgs({
          args: argv,
          options: {
            source: { type: 'string' },
            model: { type: 'string' },
            pace: { type: 'string' },
            loop: { type: 'boolean' },
            for: { type: 'string' },
            data: { type: 'string' },
          },
        }),
      )
      const { runDemo } = await import('./demo/main.ts')
      return runDemo(values)
    },
  },
  device: program(
    'device',
    'the capture agent: camera, face detection, crops',
    'The capture agent: reads cameras, finds faces, and publishes each crop to the\nbroker beside it.',
    'conf/device.yaml',
    async () => (await import('./device/main.ts')).runDevice,
  ),
  broker: program(
    'broker',
    'the MQTT broker, at the edge or in the cloud',
    'The MQTT broker. At the edge it bridges to the cloud; what it has acknowledged\nis on its disk until the next keeper has it.',
    'conf/broker.yaml',
    async () => (await import('./broker/main.ts')).runBroker,
  ),
  subscriber: program(
    'subscriber',
    'writes each crop once to a bucket, and serves the gallery',
    'The subscriber: takes crops from a broker and writes each one once to a bucket\n(S3 or a folder); gallery included.',
    'conf/subscriber.yaml',
    async () => (await import('./cloud-subscriber/main.ts')).runSubscriber,
  ),
  config: {
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
      const { checkConfigFile } = await import('./config-check.ts')
      process.stdout.write(`${await checkConfigFile(file, values.for)}\n`)
      return 0
    },
  },
  queue: {
    summary: 'shows what waits in the store of a program',
    help: `Shows what the store of a broker or of a subscriber holds on disk, whether the
program runs or not. Nothing is changed.

Usage: sightline queue stats FOLDER
       sightline queue ls FOLDER QUEUE

FOLDER is the one under "store" or "inbox" in the program's configuration.
stats lists the queues with their books; ls lists a queue's entries, oldest
first.

Options:
  --max N     entries that ls lists (default: 100)
  --json      a line of JSON for each
  --help      this text
`,
    async run(argv) {
      const { values, positionals } = parse('queue', () =>
        parseArgs({
          args: argv,
          allowPositionals: true,
          options: { max: { type: 'string' }, json: { type: 'boolean', default: false } },
        }),
      )
      const [verb, folder, name, ...rest] = positionals
      const { queueList, queueStats } = await import('./queue-list.ts')
      if (verb === 'stats' && folder !== undefined && name === undefined)
        process.stdout.write(await queueStats(folder, values.json))
      else if (verb === 'ls' && folder !== undefined && name !== undefined && rest.length === 0)
        process.stdout.write(await queueList(folder, name, wholeNumber(values.max, 100), values.json))
      else
        throw failure(
          'USAGE',
          'Write: sightline queue stats FOLDER, or sightline queue ls FOLDER QUEUE. See sightline queue --help.',
        )
      return 0
    },
  },
}

function wholeNumber(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw failure('USAGE', `"${text}" is no number of entries. Write --max 100, say.`)
  return Number(text)
}

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}   ${summary}`)
  return `Sightline: faces from camera to bucket over MQTT, with nothing lost on the way.

Usage: sightline <command> [options]

Commands:
${lines.join('\n')}

  sightline <command> --help   what a command does and takes
  sightline --version          the version

Start with: sightline demo
`
}

/** What `parseArgs` throws, said as usage. */
function parse<T>(command: string, args: () => T): T {
  try {
    return args()
  } catch (error) {
    const said = (error instanceof Error ? error.message : String(error)).replace(/\.?$/, '.')
    throw failure('USAGE', `${said} See sightline ${command} --help.`, error)
  }
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
    throw failure(
      'USAGE',
      `There is no command "${name}". The commands are: ${Object.keys(COMMANDS).join(', ')}.`,
    )
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(command.help)
    return 0
  }
  return command.run(rest)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const fault = asFailure(error)
  process.stderr.write(`${fault.code}: ${fault.message}\n`)
  if (fault.code === 'UNEXPECTED' && fault.cause instanceof Error)
    process.stderr.write(`${fault.cause.stack}\n`)
  process.exitCode = fault.exitStatus
}
