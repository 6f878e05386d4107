import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse, writeOneOf } from '../command.ts'

const USAGE = `Usage: sightline users add FILE NAME --role ROLE [options]
       sightline users add FILE NAME --publish FILTER --subscribe FILTER
       sightline users passwd FILE NAME
       sightline users remove FILE NAME
       sightline users list FILE [--json]
`

const WAYS = ['password-file', 'generate', 'no-password']
/** The options of each. */
const TAKES: Readonly<Record<string, readonly string[]>> = {
  add: ['role', 'site', 'device', 'sites', 'cameras', 'rights', 'publish', 'subscribe', ...WAYS],
  passwd: WAYS,
  remove: [],
  list: ['json'],
}

export const users: Command = {
  summary: 'adds, changes, removes and lists users',
  help: `Edits a users file: who may log in to a broker or see pages, and what each user
may do. Brokers with that "usersFile" apply changes within seconds, and close
the connections of removed users. Passwords are stored as scrypt hashes.

${USAGE}
FILE is created if it does not exist, readable only by its owner.

Roles:
  device       publishes as SITE/DEVICE and reads what is for it, nothing else
  bridge       publishes what devices do and reads what is for them (of one
               SITE, if given)
  subscriber   reads all crops, and says what the bucket has
  console      reads what programs say of devices and of the bucket, commands
               devices
  viewer       sees the console and the pages, has no access over MQTT
  analyst      the same, and exports
  operator     the same, sees live pictures and recordings, commands devices;
               over MQTT too, e.g. Home Assistant
  admin        everything

Options:
  --role ROLE            one of these
  --site SITE            of a device or a bridge
  --device DEVICE        of a device (default: NAME)
  --sites A,B            of viewer, analyst, operator: only these sites
  --cameras A,B          the same: only these cameras, as SITE/DEVICE/CAMERA (or
                         those of --sites)
  --rights A,B           of people, in place of what the role has: some of live,
                         recordings, export; or none
  --publish FILTER       without a role: may publish there; repeatable
  --subscribe FILTER     without a role: may subscribe there; repeatable
  --password-file FILE   read the password from this file
  --generate             make a password and print it, only once
  --no-password          the user has a client certificate with that name
  --json                 list: a line of JSON for each
  --help                 this text

Without one of these three, the password is asked for at the terminal, or read
from a line of standard input.
`,
  async run(argv) {
    const { values, positionals } = parse('users', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          role: { type: 'string' },
          site: { type: 'string' },
          device: { type: 'string' },
          sites: { type: 'string' },
          cameras: { type: 'string' },
          rights: { type: 'string' },
          publish: { type: 'string', multiple: true },
          subscribe: { type: 'string', multiple: true },
          'password-file': { type: 'string' },
          generate: { type: 'boolean', default: false },
          'no-password': { type: 'boolean', default: false },
          json: { type: 'boolean', default: false },
        },
      }),
    )
    const [verb, file, name, ...rest] = positionals
    const { role, site, device, publish, subscribe, json } = values
    const rights = {
      role,
      site,
      device,
      sites: listOf(values.sites),
      cameras: listOf(values.cameras),
      rights: values.rights === 'none' ? [] : listOf(values.rights),
      publish,
      subscribe,
    }
    const way = {
      file: values['password-file'],
      generate: values.generate,
      none: values['no-password'],
    }
    const takes = verb !== undefined && Object.hasOwn(TAKES, verb) ? TAKES[verb] : undefined
    if (
      takes === undefined ||
      file === undefined ||
      (name === undefined) !== (verb === 'list') ||
      rest.length > 0
    )
      writeOneOf('users', USAGE)
    const stray = Object.entries(values).find(([key, value]) => value && !takes.includes(key))
    if (stray)
      throw failure('USAGE', `"users ${verb}" does not take --${stray[0]}. See sightline users --help.`)
    const edit = await import('../../lib/access/users-file.ts')
    if (name === undefined) {
      process.stdout.write(edit.listUsers(file, json))
      return 0
    }
    if (verb === 'remove') {
      await edit.removeUser(file, name)
      process.stderr.write(`${name} is removed from ${file}.\n`)
      return 0
    }
    const user = verb === 'add' ? edit.newUser(file, name, rights) : edit.knownUser(file, name)
    const { readPassword } = await import('./password-input.ts')
    const { hashPassword } = await import('../../lib/access/passwords.ts')
    const password = await readPassword(name, way)
    const hash = password === undefined ? undefined : await hashPassword(password)
    await (verb === 'add'
      ? edit.addUser(file, { ...user, password: hash })
      : edit.setPassword(file, name, hash))
    // The password alone goes to standard output, for scripts.
    if (way.generate) process.stdout.write(`${password}\n`)
    process.stderr.write(
      verb === 'add'
        ? `${name} is added to ${file} and may ${edit.mayDo(file, name)}.\n`
        : `${name} has ${hash === undefined ? 'no password now' : 'a new password'}.\n`,
    )
    return 0
  },
}

/** `a,b` */
const listOf = (text: string | undefined) => text?.split(',').map((part) => part.trim())
