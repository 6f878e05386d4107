import { hostname } from 'node:os'
import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import type { StreamChange } from '../../wire/stream.ts'
import { type Command, parse, writeOneOf } from '../command.ts'

const USAGE = `Usage: sightline streams add FILE CAMERA [--owner USER] [--take-over]
       sightline streams list FILE [--json]
       sightline streams rotate FILE CAMERA
       sightline streams activate FILE CAMERA
       sightline streams deactivate FILE CAMERA
       sightline streams remove FILE CAMERA
`

/** The options of each. */
const TAKES: Readonly<Record<string, readonly string[]>> = {
  add: ['owner', 'take-over', 'server'],
  list: ['json'],
  rotate: ['server'],
  activate: [],
  deactivate: [],
  remove: [],
}

export const streams: Command = {
  summary: 'adds, changes and lists streams that come to a device',
  help: `Edits a streams file: who may publish video to a device, each as a camera of its
name. A device with that "listen.streamsFile" applies changes within seconds,
and sends away whoever publishes with a key that is valid no more. Keys are
128 random bits, shown once and stored as hashes.

${USAGE}
FILE is created if it does not exist, readable only by its owner.

add         makes a stream and prints its key, with what to type into OBS
rotate      replaces the key by a new one, and prints it
deactivate  refuses its publishers, until activate
list        shows when a stream was last used and from where, and who publishes

Options:
  --owner USER       add: the user of the console whose it is
  --take-over        add: a second publisher with the same key ends the first,
                     in place of being refused
  --server ADDRESS   add, rotate: what publishers reach the device by
                     (default: rtmp://${hostname()}/live)
  --json             list: a line of JSON for each
  --help             this text

The key alone goes to standard output.
`,
  async run(argv) {
    const { values, positionals } = parse('streams', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          owner: { type: 'string' },
          'take-over': { type: 'boolean', default: false },
          server: { type: 'string' },
          json: { type: 'boolean', default: false },
        },
      }),
    )
    const [verb, file, camera, ...rest] = positionals
    const takes = verb !== undefined && Object.hasOwn(TAKES, verb) ? TAKES[verb] : undefined
    if (
      takes === undefined ||
      file === undefined ||
      (camera === undefined) !== (verb === 'list') ||
      rest.length > 0
    )
      writeOneOf('streams', USAGE)
    const stray = Object.entries(values).find(([key, value]) => value && !takes.includes(key))
    if (stray)
      throw failure('USAGE', `"streams ${verb}" does not take --${stray[0]}. See sightline streams --help.`)
    if (camera === undefined) {
      const { listStreams } = await import('./list.ts')
      process.stdout.write(listStreams(file, values.json, Date.now()))
      return 0
    }
    const { isName, NAME_RULE } = await import('../../wire/names.ts')
    if (!isName(camera)) throw failure('USAGE', `CAMERA "${camera}" must be a name: ${NAME_RULE}.`)
    const { changeStream, newStreamKey } = await import('../../device/listen/change.ts')
    const { hashOfKey } = await import('../../device/listen/streams-file.ts')
    const key = verb === 'add' || verb === 'rotate' ? newStreamKey() : undefined
    await changeStream(
      { file },
      camera,
      changeOf(String(verb), key && hashOfKey(key), values.owner, values['take-over']),
    )
    process.stderr.write(`${SAID[String(verb)]?.replaceAll('%', camera)} (${file})\n`)
    if (key === undefined) return 0
    const server = values.server ?? `rtmp://${hostname()}/live`
    process.stderr.write(`
OBS: Settings, Stream, Service "Custom...":
  Server      ${server}
  Stream Key  (below)
FFmpeg: ffmpeg -re -i VIDEO -c copy -f flv ${server}/KEY

The key is shown only now:
`)
    process.stdout.write(`${key}\n`)
    return 0
  },
}

const SAID: Readonly<Record<string, string>> = {
  add: 'Stream % added.',
  rotate: 'Stream % has a new key. Whoever publishes with the old one is sent away.',
  activate: 'Stream % is active.',
  deactivate: 'Stream % is deactivated. Whoever publishes is sent away.',
  remove: 'Stream % removed. Whoever publishes is sent away.',
}

function changeOf(verb: string, keyHash = '', owner: string | undefined, takeOver: boolean): StreamChange {
  switch (verb) {
    case 'add':
      return { do: 'add', keyHash, ...(owner !== undefined && { owner }), takeOver }
    case 'rotate':
      return { do: 'rotate', keyHash }
    case 'activate':
    case 'deactivate':
    case 'remove':
      return { do: verb }
    default:
      throw new TypeError(verb)
  }
}
