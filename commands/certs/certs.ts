import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'

const AUTHORITY_DAYS = 3650
/** As long as browsers accept a server's certificate, which suits clients as well. */
const DAYS = 397
const DAYS_MAX = 36_500

export const certs: Command = {
  summary: 'certificates: an authority, servers, clients, signers',
  help: `Makes the certificates for TLS and for signatures: your own authority in a
folder, and a pair of files (certificate, key) for each server, each client and
each device that signs. Keep the folder on your own machine, and copy to each
program only what it needs.

Usage: sightline certs ca DIR
       sightline certs server DIR NAME --host HOST
       sightline certs client DIR NAME
       sightline certs signer DIR SITE/DEVICE
       sightline certs renew DIR NAME
       sightline certs list DIR

ca makes the authority. server makes the pair of a broker or of an HTTP
listener, client that of a device, a bridge or a subscriber: NAME is its user
name at the broker. signer makes the pair that a device signs its crops and
clips with ("signing" in its configuration), which "sightline verify" checks,
or a console what devices shall be ("desired.signing"): any name will do there.
renew replaces a certificate with one that expires later, for the same key;
list shows how long each is valid. Of signers the old certificates stay in the
folder: files verify by the one that was valid when they were captured.

Options:
  --name NAME   ca: display name of the authority (default: Sightline)
  --host HOST   server: name or address that clients connect to; repeatable
  --days N      validity in days (default: 3650 for an authority, else 397)
  --new-key     signer: a new key in place of the one there is, for instance
                because it was stolen; deletes the old one
  --help        this text
`,
  async run(argv) {
    const { values, positionals } = parse('certs', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          name: { type: 'string' },
          host: { type: 'string', multiple: true },
          days: { type: 'string' },
          'new-key': { type: 'boolean', default: false },
        },
      }),
    )
    const [verb, folder, name, ...rest] = positionals
    const named = verb === 'server' || verb === 'client' || verb === 'signer' || verb === 'renew'
    const known = named || verb === 'ca' || verb === 'list'
    if (!known || folder === undefined || rest.length > 0 || named !== (name !== undefined))
      throw failure(
        'USAGE',
        'Write: sightline certs ca DIR, or sightline certs server|client|renew DIR NAME, or sightline certs signer DIR SITE/DEVICE, or sightline certs list DIR. See sightline certs --help.',
      )
    refuseUseless(verb, values)
    const days = wholeDays(values.days, verb === 'ca' ? AUTHORITY_DAYS : DAYS)
    const { certsMake, certsList } = await import('./say.ts')
    process.stdout.write(
      verb === 'list'
        ? certsList(folder)
        : await certsMake({
            verb,
            folder,
            name: name ?? values.name ?? 'Sightline',
            hosts: values.host ?? [],
            days,
            newKey: values['new-key'],
          }),
    )
    return 0
  },
}

/** An option that would do nothing is a misunderstanding. */
function refuseUseless(
  verb: string,
  values: {
    readonly name?: string
    readonly host?: string[]
    readonly days?: string
    readonly 'new-key': boolean
  },
): void {
  const wrong =
    (values.name !== undefined && verb !== 'ca' && '--name') ||
    (values.host !== undefined && verb !== 'server' && '--host') ||
    (values.days !== undefined && verb === 'list' && '--days') ||
    (values['new-key'] && verb !== 'signer' && '--new-key')
  if (wrong)
    throw failure('USAGE', `"sightline certs ${verb}" does not take ${wrong}. See sightline certs --help.`)
}

function wholeDays(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  if (!/^[1-9]\d{0,4}$/.test(text) || Number(text) > DAYS_MAX)
    throw failure('USAGE', `--days needs a whole number up to ${DAYS_MAX}, e.g. ${fallback}, not "${text}".`)
  return Number(text)
}
