import { X509Certificate } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { z } from 'zod'
import { address, loadConfig } from '../lib/config.ts'
import { failure, systemCode } from '../lib/errors.ts'
import { parseBrokerUrl } from '../lib/mqtt/link.ts'
import { isName, NAME_RULE } from '../wire/names.ts'

/**
 * The file that a cloud gives to one edge: address, site, user, password and authority, all in one. The certificate
 * comes last: one that is cut lacks a part of it, and is refused.
 */

/** The cloud, as an edge knows it. */
export interface Uplink {
  readonly url: string
  /** Of the edge: its user may publish there alone. Absent where the cloud gave one user to all edges, or is another's. */
  readonly site?: string
  readonly username: string
  readonly password: string
  /** PEM; where absent, the authorities that the system knows. */
  readonly ca?: string
}

/** Version 1 was of one user for all edges, and named no site. */
const joinSchema = z.strictObject({
  version: z.union([z.literal(1), z.literal(2)], 'must be 1 or 2: a newer version of Sightline wrote this'),
  url: address('mqtts://cloud.example.org:8883', ['mqtts']),
  site: z.string().refine(isName, `must be a name: ${NAME_RULE}`).optional(),
  username: z.string().min(1),
  password: z.string().min(1),
  ca: z.string().min(1),
})

/** Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID */
export function readJoin(file: string): Uplink {
  if (!existsSync(file))
    throw failure(
      'CONFIG_NOT_FOUND',
      `Join file ${file} not found. Create one at the cloud: sightline deploy invite SITE (or docker/secrets.sh invite SITE).`,
    )
  const { version: _, ...uplink } = loadConfig(joinSchema, { file })
  checkAuthority(uplink.ca, file)
  return uplink
}

/** Readable by its owner alone. Errors: FILE_EXISTS, FOLDER_UNWRITABLE */
export function writeJoin(file: string, { url, site, username, password, ca }: Uplink): void {
  const text = `# What the edge "${site}" needs to send its crops to its cloud:
#   sightline deploy edge --host ssh://user@jetson --join FILE
#   docker/secrets.sh edge FILE DEVICE
# It holds a password that is stored nowhere else: whoever has this file can publish as that edge.
${stringify({ version: 2, url, site, username, password, ca })}`
  writeNew(file, text)
}

/** A file with a secret in it: whole, or not at all. Errors: FILE_EXISTS, FOLDER_UNWRITABLE */
export function writeNew(file: string, text: string): void {
  let made = false
  try {
    const descriptor = openSync(file, 'wx', 0o600)
    made = true
    try {
      writeFileSync(descriptor, text)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    if (made) unlinkSync(file)
    if (systemCode(error) === 'EEXIST')
      throw failure(
        'FILE_EXISTS',
        `${file} already exists and is not overwritten. Move it, or name another file.`,
        error,
      )
    throw failure('FOLDER_UNWRITABLE', `${file} cannot be written. Name another place.`, error)
  }
}

/** `--cloud`, `--ca` and `--user-file`. Errors: USAGE, CONFIG_INVALID, CONFIG_NOT_FOUND */
export function readUplink(url: string, ca: string | undefined, userFile: string | undefined): Uplink {
  parseBrokerUrl(url)
  if (!/^mqtts:/.test(url))
    throw failure('USAGE', `--cloud ${url} would send faces and a password unencrypted. Write mqtts://…`)
  if (userFile === undefined)
    throw failure(
      'USAGE',
      '--cloud also needs --user-file: a file with the user name in its first line and the password in its second.',
    )
  const [username, password] = read(userFile, '--user-file').split(/\r?\n/)
  if (!username || !password)
    throw failure(
      'CONFIG_INVALID',
      `${userFile} (--user-file) needs two lines: the user name, and the password.`,
    )
  if (ca === undefined) return { url, username, password }
  const pem = read(ca, '--ca')
  checkAuthority(pem, ca)
  return { url, username, password, ca: pem }
}

function checkAuthority(pem: string, file: string): void {
  try {
    new X509Certificate(pem)
  } catch (error) {
    throw failure('CONFIG_INVALID', `${file} contains no certificate in PEM format.`, error)
  }
}

function read(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw failure('CONFIG_NOT_FOUND', `The file ${file} (${option}) cannot be read.`, error)
  }
}
