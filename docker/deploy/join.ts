import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { z } from 'zod'
import { loadConfig } from '../../lib/config.ts'
import { failure, systemCode } from '../../lib/errors.ts'
import { parseBrokerUrl } from '../../lib/mqtt-link.ts'
import type { Uplink } from './settings.ts'

/** The file that a cloud gives out and an edge takes: address, authority, user and password, all in one. */

const joinSchema = z.strictObject({
  version: z.literal(1),
  url: z.string().regex(/^mqtts:\/\/\S+$/, 'must be an address such as mqtts://cloud.example.org:8883'),
  username: z.string().min(1),
  password: z.string().min(1),
  ca: z.string().min(1),
})

/** Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID */
export function readJoin(file: string): Uplink {
  if (!existsSync(file))
    throw failure(
      'CONFIG_NOT_FOUND',
      `There is no file ${file} (--join). "sightline deploy cloud" writes one, and "sightline deploy join" writes it again.`,
    )
  const { version: _, ...uplink } = loadConfig(joinSchema, { file })
  checkAuthority(uplink.ca, file)
  return uplink
}

/** Readable by its owner alone. Errors: FILE_EXISTS, FOLDER_UNWRITABLE */
export function writeJoin(file: string, uplink: Uplink): void {
  const text = `# What an edge needs to hand its crops on to this cloud:
#   sightline deploy edge --host ssh://user@jetson --join ${file}
# It holds a password: whoever has this file can publish as an edge.
${stringify({ version: 1, ...uplink })}`
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  try {
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if (systemCode(error) === 'EEXIST')
      throw failure(
        'FILE_EXISTS',
        `${file} is there already, with something else in it, and is not overwritten. Name another: --out FILE`,
        error,
      )
    throw failure('FOLDER_UNWRITABLE', `${file} cannot be written. Name another place: --out FILE`, error)
  }
}

/** `--cloud`, `--ca` and `--user-file`. Errors: USAGE, CONFIG_INVALID, CONFIG_NOT_FOUND */
export function readUplink(url: string, ca: string | undefined, userFile: string | undefined): Uplink {
  parseBrokerUrl(url)
  if (!/^mqtts:/.test(url))
    throw failure('USAGE', `--cloud ${url} would send faces and a password in plain text. Write mqtts://…`)
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
    throw failure('CONFIG_INVALID', `${file} holds no certificate in PEM form.`, error)
  }
}

function read(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw failure('CONFIG_NOT_FOUND', `The file ${file} (${option}) cannot be read.`, error)
  }
}
