import { createHash, randomBytes } from 'node:crypto'
import { hashPassword } from '../lib/access/passwords.ts'
import type { FileUser } from '../lib/access/users.ts'
import { failure } from '../lib/errors.ts'
import { isName, NAME_RULE } from '../wire/names.ts'
import type { User } from '../wire/users.ts'
import type { Uplink } from './join-file.ts'

/**
 * Who a cloud, its edges and their devices are to each other, for every way of installing them: `sightline deploy`, and
 * `sightline secrets` for Compose. One edge is one site, one user at the cloud and one broker name.
 */

export const SUBSCRIBER_USER = 'subscriber'
export const CONSOLE_USER = 'console'
export const VIEWER_USER = 'viewer'
/** Of console and gallery; the broker does not know this one. */
export const ADMIN_USER = 'admin'

export interface Login {
  readonly password: string
  readonly hash: string
}

/** As long as `sightline users --generate` makes them. */
const PASSWORD_BYTES = 16

export async function newLogin(): Promise<Login> {
  const password = randomBytes(PASSWORD_BYTES).toString('hex')
  return { password, hash: await hashPassword(password) }
}

const NAME_LENGTH_MAX = 63
const DIGEST_CHARACTERS = 12

/**
 * What an edge is called: its user at the cloud, and its broker, from whose name the client ids of its bridge follow.
 * No two sites have the same.
 */
export function edgeName(site: string): string {
  const name = `edge-${site}`
  if (name.length <= NAME_LENGTH_MAX) return name
  const digest = createHash('sha256').update(site).digest('hex').slice(0, DIGEST_CHARACTERS)
  return `${name.slice(0, NAME_LENGTH_MAX - DIGEST_CHARACTERS - 1)}-${digest}`
}

export const edgeUser = (site: string, hash: string): FileUser => ({
  name: edgeName(site),
  role: 'bridge',
  site,
  password: hash,
})

export const subscriberUser = (hash: string): FileUser => ({
  name: SUBSCRIBER_USER,
  role: 'subscriber',
  password: hash,
})

export const consoleUser = (hash: string): FileUser => ({
  name: CONSOLE_USER,
  role: 'console',
  password: hash,
})

export const viewerUser = (hash: string): FileUser => ({ name: VIEWER_USER, role: 'viewer', password: hash })

export const adminUser = (hash: string): FileUser => ({ name: ADMIN_USER, role: 'admin', password: hash })

export const deviceUser = (
  name: string,
  at: { readonly site: string; readonly device: string },
  hash: string,
): FileUser => ({ name, role: 'device', ...at, password: hash })

/**
 * A user of its own for one more edge. The password is in what the edge is given, and nowhere else.
 * @param remove the command that takes an edge back, up to the site
 * Errors: NAME_INVALID, USER_EXISTS
 */
export async function newEdge(
  site: string,
  users: readonly User[],
  cloud: Pick<Uplink, 'url' | 'ca'>,
  remove: string,
): Promise<{ readonly user: FileUser; readonly uplink: Uplink }> {
  if (!isName(site))
    throw failure('NAME_INVALID', `Invalid site name ${JSON.stringify(site)}: use ${NAME_RULE}.`)
  if (users.some((user) => user.role === 'bridge' && user.site === site))
    throw failure(
      'USER_EXISTS',
      `The site "${site}" already has an edge, and each edge needs its own site: choose another name. If it is the same edge, set up again, or its join file was lost, remove it first: ${remove} ${site}`,
    )
  if (users.some(({ name }) => name === edgeName(site)))
    throw failure(
      'USER_EXISTS',
      `User "${edgeName(site)}" already exists and is not an edge of the site "${site}". Choose another site name, or rename that user.`,
    )
  const { password, hash } = await newLogin()
  return { user: edgeUser(site, hash), uplink: { ...cloud, site, username: edgeName(site), password } }
}

/** The edges among these users. */
export const sitesOf = (users: readonly FileUser[]): string[] =>
  users.flatMap(({ role, site }) => (role === 'bridge' && site !== undefined ? [site] : []))

/** Errors: USER_UNKNOWN */
export function edgeOf(site: string, users: readonly FileUser[]): FileUser {
  const user = users.find((it) => it.role === 'bridge' && it.site === site)
  if (user) return user
  const sites = sitesOf(users)
  throw failure(
    'USER_UNKNOWN',
    `No edge found for the site ${JSON.stringify(site)}. ${sites.length === 0 ? 'There are no edges.' : `There are: ${sites.join(', ')}.`}`,
  )
}
