import { parseArgs } from 'node:util'
import type { RunOptions } from '../lib/service.ts'
import { type Command, parse } from './command.ts'

/** What becomes of what a program has when it stops. */
const ON_DISK = 'accepted data is on disk and\nresumes at the next start.'

const CONFIG_HELP = (program: string, file: string, stops: string) => `Usage: sightline ${program} [--config FILE]

Options:
  --config FILE   settings, YAML; ${file} has the defaults and
                  explains every key
  --help          this text

Environment:
  SIGHTLINE_...   a setting by its path: SIGHTLINE_HTTP__PORT=9200 sets
                  "http.port"; it overrides the file. Text is used as it is, a
                  list or a section is YAML or JSON

SIGTERM or Ctrl-C drains and stops the program; ${stops}

Exit status: 0 success, 64 wrong usage, 66 file not found, 69 a service is
unavailable, 73 to 75 disk or store error, 77 permission denied, 78 wrong
configuration.
`

function program(
  name: string,
  summary: string,
  about: string,
  file: string,
  load: () => Promise<(options: RunOptions) => Promise<number>>,
  stops = ON_DISK,
): Command {
  return {
    summary,
    help: `${about}\n\n${CONFIG_HELP(name, file, stops)}`,
    async run(argv) {
      const { values } = parse(name, () => parseArgs({ args: argv, options: { config: { type: 'string' } } }))
      return (await load())(values)
    },
  }
}

export const device = program(
  'device',
  'the capture agent: camera, face detection, crops',
  'The capture agent: reads cameras, finds faces, and publishes each crop to the\nlocal broker.',
  'conf/device.yaml',
  async () => (await import('../device/main.ts')).runDevice,
)

export const broker = program(
  'broker',
  'the MQTT broker, at the edge or in the cloud',
  'The MQTT broker. At the edge it bridges to the cloud; acknowledged messages\nstay on its disk until the next program has stored them.',
  'conf/broker.yaml',
  async () => (await import('../broker/main.ts')).runBroker,
)

export const subscriber = program(
  'subscriber',
  'writes each crop once to a bucket, and serves the gallery',
  'The subscriber: receives crops from a broker and writes each one once to a\nbucket (S3 or a folder); includes the gallery.',
  'conf/subscriber.yaml',
  async () => (await import('../cloud-subscriber/main.ts')).runSubscriber,
)

export const inference = program(
  'inference',
  'the inference server: models for devices that ask for them',
  'The inference server: runs models of the catalogue for devices that send their\nframes, by the Open Inference Protocol (HTTP and gRPC).',
  'conf/inference.yaml',
  async () => (await import('../inference/main.ts')).runInference,
  'what it has taken is\nanswered, and what comes then is refused.',
)
