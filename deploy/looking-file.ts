import { randomBytes, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { stringify } from 'yaml'
import { z } from 'zod'
import { address, loadConfig } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { writeNew } from './join-file.ts'

/**
 * The file that an inference server gives to edges: where it is, what they show, and the authority of its certificate. The
 * certificate comes last: one that is cut lacks a part of it, and is refused.
 */

/** Inference servers, as an edge knows them. */
export interface Looking {
  readonly addresses: readonly string[]
  readonly token: string
  /** PEM, of each server's authority. */
  readonly ca: string
}

const lookingSchema = z.strictObject({
  version: z.literal(1, 'must be 1: a newer version of Sightline wrote this'),
  inference: z.array(address('https://192.168.1.20:8500', ['https', 'grpcs'])).min(1),
  token: z.string().min(16),
  ca: z.string().min(1),
})

/** As long as a password that is made here. */
export const newToken = () => randomBytes(24).toString('hex')

/** Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID, USAGE where the files have tokens of their own */
export function readLooking(files: readonly string[]): Looking {
  const all = files.map(readOne)
  const [first] = all as [Looking, ...Looking[]]
  if (all.some(({ token }) => token !== first.token))
    throw failure(
      'USAGE',
      `The servers of ${files.join(', ')} have different tokens, and a device shows one. Put one token into the tokens file of each server, and into these files.`,
    )
  return {
    addresses: all.flatMap(({ addresses }) => addresses),
    token: first.token,
    ca: [...new Set(all.map(({ ca }) => ca.trim()))].map((ca) => `${ca}\n`).join(''),
  }
}

function readOne(file: string): Looking {
  if (!existsSync(file))
    throw failure(
      'CONFIG_NOT_FOUND',
      `Join file ${file} not found. Create one at the inference server: sightline deploy token (or docker/secrets.sh inference HOST).`,
    )
  const { inference: addresses, token, ca } = loadConfig(lookingSchema, { file })
  try {
    new X509Certificate(ca)
  } catch (error) {
    throw failure('CONFIG_INVALID', `${file} contains no certificate in PEM format.`, error)
  }
  return { addresses, token, ca }
}

/** Readable by its owner alone. Errors: FILE_EXISTS, FOLDER_UNWRITABLE */
export function writeLooking(file: string, { addresses, token, ca }: Looking): void {
  const text = `# What an edge needs to let an inference server look at its frames:
#   sightline deploy edge --host ssh://user@pi --join SITE.join.yaml --inference FILE
#   docker/secrets.sh servers FILE
# It holds a token: whoever has this file can use that server.
${stringify({ version: 1, inference: addresses, token, ca })}`
  writeNew(file, text)
}
