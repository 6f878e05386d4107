import { parseArgs } from 'node:util'
import type { RunOptions } from '../lib/service.ts'
import { type Command, parse } from './command.ts'

const CONFIG_HELP = (program: string, file: string) => `Usage: sightline ${program} [--config FILE]

Options:
  --config FILE   settings, YAML; ${file} holds the defaults and
                  explains every key
  --help          this text

Environment:
  SIGHTLINE_...   a setting by its path: SIGHTLINE_HTTP__PORT=9200 sets
                  "http.port"; it wins over the file. Text is taken as it is, a
                  list or a section is YAML or JSON

SIGTERM or Ctrl-C drains and ends the program; what was accepted is on disk and
goes on at the next start.

Exit status: 0 ended well, 64 wrong usage, 66 a file is not there, 69 something
it needs is away, 73 to 75 a disk or a store, 77 not allowed, 78 wrong
configuration.
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

export const device = program(
  'device',
  'the capture agent: camera, face detection, crops',
  'The capture agent: reads cameras, finds faces, and publishes each crop to the\nbroker beside it.',
  'conf/device.yaml',
  async () => (await import('../device/main.ts')).runDevice,
)

export const broker = program(
  'broker',
  'the MQTT broker, at the edge or in the cloud',
  'The MQTT broker. At the edge it bridges to the cloud; what it has acknowledged\nis on its disk until the next keeper has it.',
  'conf/broker.yaml',
  async () => (await import('../broker/main.ts')).runBroker,
)

export const subscriber = program(
  'subscriber',
  'writes each crop once to a bucket, and serves the gallery',
  'The subscriber: takes crops from a broker and writes each one once to a bucket\n(S3 or a folder); gallery included.',
  'conf/subscriber.yaml',
  async () => (await import('../cloud-subscriber/main.ts')).runSubscriber,
)
