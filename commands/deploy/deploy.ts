import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

const SET_UP = ['edge', 'cloud', 'demo', 'inference'] as const

const WHERE = ['host', 'name', 'identity', 'known-hosts']
const IMAGES = ['images', 'tag', 'build-arg', 'build-network', 'wait']
const AGENT = ['camera', 'mount', 'gpu']
const WEB = ['gallery-port', 'console-port', 's3-credentials']

/** The options of each verb. */
const TAKES: Readonly<Record<string, readonly string[]>> = {
  edge: [...WHERE, ...IMAGES, ...AGENT, 'config', 'join', 'cloud', 'ca', 'user-file', 'inference'],
  cloud: [...WHERE, ...IMAGES, ...WEB, 'config', 'address', 'mqtt-port'],
  demo: [...WHERE, ...IMAGES, ...AGENT, ...WEB, 'config'],
  inference: [...WHERE, ...IMAGES, 'config', 'mount', 'gpu', 'address', 'inference-port'],
  status: WHERE,
  logs: [...WHERE, 'follow', 'tail'],
  upgrade: [...WHERE, ...IMAGES],
  down: [...WHERE, 'purge'],
  invite: [...WHERE, 'out'],
  token: [...WHERE, 'out'],
  remove: [...WHERE, 'shared'],
  login: WHERE,
}

/** A part of the deployment, or the site of an edge. */
const TAKES_A_NAME = ['logs', 'invite', 'remove']

export const deploy: Command = {
  summary: 'sets up containers on a Docker engine, here or over SSH',
  help: `Sets up containers on a Docker engine, here or over SSH: checks the
requirements, creates images, network, volumes and containers, and waits until
all are healthy. Run again, it updates only what has changed.

Usage: sightline deploy edge --host ssh://me@jetson --join FILE
       sightline deploy cloud --host ssh://me@server --address NAME
       sightline deploy demo
       sightline deploy inference --host ssh://me@gpu --address NAME [--gpu]
       sightline deploy invite|remove SITE
       sightline deploy status|upgrade|down|logs|login|token [--name NAME]

edge     a capture agent and its broker, which forwards to a cloud
cloud    a broker, a subscriber with bucket and gallery, and the console
demo     all of them on one machine
inference  a server that looks at the frames of edges
invite   adds an edge: writes a join file with its own site and user
token    of an inference server: writes a join file for edges (--inference)
remove   removes one edge: its connection ends, the others stay
status   what runs where, and its health; exit status 1: something is unhealthy
logs     logs of all parts, or of one: logs broker -f
upgrade  replaces images; rolls back what does not become healthy
down     removes the containers and keeps the queues
login    shows the users and passwords of console and gallery

Options:
  --host HOST           unix:///var/run/docker.sock (default, or DOCKER_HOST),
                        or ssh://user@machine[:port], with an SSH key
  --name NAME           of the deployment (default: edge, cloud, demo
                        or inference)
  --identity FILE       private key for SSH (default: the agent's, and ~/.ssh)
  --known-hosts FILE    file with the machine's key (default: as for ssh)
  --config FILE         settings of a program, as in conf/; repeatable. Files
                        that it names are copied too
  --join FILE           edge: its join file, from "invite"
  --inference FILE      edge: frames are looked at there: a join file of an
                        inference server; repeatable
  --cloud URL           edge: another cloud, mqtts://HOST:8883, with
  --ca FILE             its authority's certificate, and
  --user-file FILE      user name and password, one per line
  --camera SOURCE       edge, demo: /dev/video0, rtsp://... or testcard
  --mount DIR           a folder there that agent or inference server may read
  --gpu                 edge, demo, inference: detect on an NVIDIA GPU
  --address HOST        cloud, inference: address for edges (default: --host's)
  --mqtt-port N         cloud: for edges (default: 8883)
  --gallery-port N      cloud, demo: for browsers (default: 8080)
  --console-port N      cloud, demo: for browsers (default: 8444)
  --inference-port N    inference: for edges (default: 8500)
  --s3-credentials FILE cloud, demo: an AWS shared credentials file
  --images FILE         images from "docker save" (default: build them)
  --tag REFERENCE       images by name: registry/sightline-{program}:1.0
  --build-arg NAME=X    build argument for images
  --build-network MODE  network of the build, e.g. host
  --wait DURATION       time for each part to become healthy (default: 3m)
  --out FILE            invite, token: the join file (default: SITE.join.yaml,
                        inference.join.yaml)
  --shared              remove: the user shared by edges of an earlier version
  --follow, -f          logs: follow new lines
  --tail N              logs: number of last lines (default: 100)
  --purge               down: also delete queues, bucket and passwords; must be
                        given twice
  --help                this text

More in docs/deploy.md.
`,
  isEndless: (argv) => argv.includes('--follow'),
  async run(argv) {
    const { values, positionals } = parse('deploy', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          host: { type: 'string' },
          name: { type: 'string' },
          identity: { type: 'string' },
          'known-hosts': { type: 'string' },
          config: { type: 'string', multiple: true },
          join: { type: 'string' },
          inference: { type: 'string', multiple: true },
          'inference-port': { type: 'string' },
          cloud: { type: 'string' },
          ca: { type: 'string' },
          'user-file': { type: 'string' },
          camera: { type: 'string', multiple: true },
          mount: { type: 'string', multiple: true },
          gpu: { type: 'boolean' },
          address: { type: 'string', multiple: true },
          'mqtt-port': { type: 'string' },
          'gallery-port': { type: 'string' },
          'console-port': { type: 'string' },
          's3-credentials': { type: 'string' },
          images: { type: 'string' },
          tag: { type: 'string' },
          'build-arg': { type: 'string', multiple: true },
          'build-network': { type: 'string' },
          wait: { type: 'string' },
          out: { type: 'string' },
          shared: { type: 'boolean' },
          follow: { type: 'boolean', short: 'f' },
          tail: { type: 'string' },
          purge: { type: 'boolean', multiple: true },
        },
      }),
    )
    const [verb, part, ...rest] = positionals
    const takes = verb !== undefined && Object.hasOwn(TAKES, verb) ? TAKES[verb] : undefined
    if (
      verb === undefined ||
      takes === undefined ||
      rest.length > 0 ||
      (part !== undefined && !TAKES_A_NAME.includes(verb))
    )
      throw failure(
        'USAGE',
        `Write: sightline deploy ${Object.keys(TAKES).join('|')}. See sightline deploy --help.`,
      )
    const stray = Object.keys(values).find((option) => !takes.includes(option))
    if (stray !== undefined)
      throw failure('USAGE', `"deploy ${verb}" does not take --${stray}. See sightline deploy --help.`)
    const isKind = (text: string): text is (typeof SET_UP)[number] => SET_UP.includes(text as never)
    const asked = await import('./options.ts')
    const { ENGINE_HOST_DEFAULT, readSettings, readSource, readWait, wholeNumber } = asked
    const run = await import('../../deploy/deploy.ts')
    const where = {
      address: asked.readAddress(values.host ?? process.env.DOCKER_HOST ?? ENGINE_HOST_DEFAULT),
      ssh: {
        identity: values.identity,
        knownHosts: values['known-hosts'],
        agent: process.env.SSH_AUTH_SOCK,
      },
    }
    const name = (fallback: string) => asked.checkName(values.name ?? fallback)
    /** What stays to be named where several things can be deployed. */
    const named = async () => (values.name === undefined ? run.onlyOne(where) : asked.checkName(values.name))
    using interrupt = new Interrupt()
    const say = (line: string) => void process.stdout.write(`${line}\n`)
    const how = {
      ...where,
      source: readSource(values),
      healthyMsMax: readWait(values.wait),
      signal: interrupt.signal,
      say,
    }
    if (isKind(verb)) {
      const settings = readSettings(verb, values, where.address)
      await run.deploy({ ...how, name: name(verb), settings })
      return 0
    }
    switch (verb) {
      case 'status': {
        const { text, ok } = await run.status({ ...where, name: values.name })
        process.stdout.write(text)
        return ok ? 0 : 1
      }
      case 'upgrade':
        await run.upgrade({ ...how, name: await named() })
        return 0
      case 'logs': {
        const { writer } = await import('./logs.ts')
        await run.logs({
          ...where,
          name: await named(),
          part,
          follow: values.follow === true,
          tail: wholeNumber('--tail', values.tail, 100, 1_000_000),
          signal: interrupt.signal,
          write: writer(part === undefined),
        })
        return 0
      }
      case 'down': {
        const purges = values.purge?.length ?? 0
        const which = await named()
        if (purges === 1)
          throw failure(
            'USAGE',
            `--purge deletes all data of "${which}": waiting crops, a bucket in a folder, passwords of edges. Nothing was deleted. To confirm, give it twice: --purge --purge`,
          )
        const kept = await run.down({ ...where, name: which, purge: purges > 1, say })
        say(
          kept.length === 0
            ? `"${which}" and all its data are deleted.`
            : `"${which}" is down. Kept, for the next deploy: ${kept.join(', ')}`,
        )
        return 0
      }
      case 'invite': {
        if (part === undefined)
          throw failure('USAGE', 'Write: sightline deploy invite SITE. Each edge needs its own site.')
        const joinFile = values.out ?? `${part}.join.yaml`
        await run.invite({ ...where, name: await named(), site: part, joinFile })
        say(`wrote ${joinFile}: copy it to one edge, and delete it here. It contains a password.`)
        say(`next      sightline deploy edge --join ${joinFile}`)
        return 0
      }
      case 'token': {
        const joinFile = values.out ?? 'inference.join.yaml'
        await run.shareInference({ ...where, name: await named(), joinFile })
        say(`wrote ${joinFile}: copy it to edges. It contains a token.`)
        say(`next      sightline deploy edge --join SITE.join.yaml --inference ${joinFile}`)
        return 0
      }
      case 'remove':
        if ((part === undefined) !== (values.shared === true))
          throw failure('USAGE', 'Write: sightline deploy remove SITE (or remove --shared).')
        await run.remove({ ...where, name: await named(), site: part })
        say(
          `${part === undefined ? 'The user shared by edges' : `The edge of the site "${part}"`} is removed: its connection ends within seconds.`,
        )
        return 0
      default:
        process.stdout.write(await run.login({ ...where, name: await named() }))
        return 0
    }
  },
}

/** Ctrl-C, once; the second one ends the program as ever. */
class Interrupt implements Disposable {
  readonly #controller = new AbortController()
  readonly #abort = () =>
    this.#controller.abort(
      failure('INTERRUPTED', 'Interrupted. Run the same command again: it resumes from there.'),
    )

  constructor() {
    for (const name of SIGNALS) process.once(name, this.#abort)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) process.off(name, this.#abort)
  }
}
