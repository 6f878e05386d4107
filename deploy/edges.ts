import { rmSync } from 'node:fs'
import { bodyOfUsersText, type FileUser } from '../lib/access/users.ts'
import { usersText } from '../lib/access/users-file.ts'
import { failure } from '../lib/errors.ts'
import { containersOf } from './apply.ts'
import { bracketed, cloudUsers, inlineUsers, USERS_FILE } from './compose.ts'
import { edgeOf, newEdge, sitesOf } from './edge-users.ts'
import type { Engine } from './engine.ts'
import { writeJoin } from './join-file.ts'
import { USERS_BYTES_MAX } from './limits.ts'
import { EDGE_USER, usersVolume } from './names.ts'
import type { Secrets } from './secrets.ts'
import type { Settings } from './settings.ts'
import { newState, type State, writeState } from './state.ts'
import type { Volumes } from './volumes.ts'

/** Who may hand crops on to a cloud: invited and taken back while it runs. */

/** A cloud that is deployed. */
export interface Cloud {
  readonly engine: Engine
  readonly volumes: Volumes
  readonly name: string
  readonly state: State
  /** What `sightline deploy` needs to find it again: `--host` and `--name`. */
  readonly flags: string
}

/** Writes a join file for one more edge. Errors: USER_EXISTS, NAME_INVALID, FILE_EXISTS, DEPLOYMENT_CONFLICT, and those of the engine */
export async function inviteEdge(cloud: Cloud, site: string, joinFile: string): Promise<void> {
  const { settings, secrets } = cloud.state
  await checkFollows(cloud)
  const { user, uplink } = await newEdge(
    site,
    [...inlineUsers(settings), ...cloudUsers(settings, secrets)],
    { url: urlOf(settings), ca: secrets.authority?.cert },
    `sightline deploy remove${cloud.flags}`,
  )
  writeJoin(joinFile, uplink) // first: a user whose password nobody has would be in the way
  try {
    await keep(cloud, { ...secrets, edges: [...(secrets.edges ?? []), user] })
  } catch (error) {
    rmSync(joinFile)
    throw error
  }
}

/** @param site undefined: the user that edges had in common. Errors: USER_UNKNOWN, DEPLOYMENT_CONFLICT, and those of the engine */
export async function removeEdge(cloud: Cloud, site: string | undefined): Promise<void> {
  const { users, edges = [], ...rest } = cloud.state.secrets
  await checkFollows(cloud)
  if (site !== undefined) {
    const gone = edgeOf(site, edges)
    await keep(cloud, { users, ...rest, edges: edges.filter((user) => user !== gone) })
    return
  }
  const { [EDGE_USER]: common, ...others } = users
  if (!common)
    throw failure(
      'USER_UNKNOWN',
      `"${cloud.name}" has no user shared by its edges: each has its own. Name the site of the edge to remove.`,
    )
  await keep(cloud, { users: others, edges, ...rest })
}

async function keep({ volumes, name, state }: Cloud, secrets: Secrets): Promise<void> {
  await writeState(volumes, name, newState(state.settings, secrets))
  await writeUsers(volumes, name, cloudUsers(state.settings, secrets))
}

/** Writes the users file, where other users are in it or it is none. */
export async function writeUsers(
  volumes: Volumes,
  deployment: string,
  users: readonly FileUser[],
): Promise<void> {
  const volume = usersVolume(deployment)
  const text = usersText(users)
  await volumes.ensure(volume, 'users')
  const had = (await volumes.read(volume, USERS_BYTES_MAX))[USERS_FILE]?.toString('utf8')
  if (had !== undefined && bodyOrNone(had) === bodyOfUsersText(text, USERS_FILE)) return
  await volumes.put(volume, { [USERS_FILE]: Buffer.from(text) })
}

function bodyOrNone(text: string): string | undefined {
  try {
    return bodyOfUsersText(text, USERS_FILE)
  } catch {
    return undefined // cut, by a run that was interrupted
  }
}

/** The broker of an earlier version has its users in its configuration. Errors: DEPLOYMENT_CONFLICT */
async function checkFollows({ engine, name, flags }: Cloud): Promise<void> {
  const follows = (await containersOf(engine, name)).some(({ Mounts }) =>
    Mounts.some((mount) => mount.Name === usersVolume(name)),
  )
  if (!follows)
    throw failure(
      'DEPLOYMENT_CONFLICT',
      `The broker of "${name}" is too old to add or remove users while it runs. Upgrade it first: sightline deploy upgrade${flags}`,
    )
}

/** What there is to say of a cloud's edges. */
export function sayEdges({ users, edges = [] }: Secrets, flags: string): string[] {
  const invite = `sightline deploy invite SITE${flags}`
  return [
    edges.length === 0
      ? `next      an edge: ${invite} writes a join file for it`
      : `edges     ${sitesOf(edges).join(', ')} (another one: ${invite})`,
    ...(users[EDGE_USER] === undefined
      ? []
      : [
          `note      Edges that joined earlier share one user, which may publish for every site and can only be removed for all of them. It still works. Give each edge its own: ${invite}, with its current site, and deploy it again with that join file (--join). When all have one: sightline deploy remove --shared${flags}`,
        ]),
  ]
}

export const urlOf = ({ addresses, mqttPort }: Settings): string =>
  `mqtts://${bracketed(addresses[0] ?? 'localhost')}:${mqttPort}`
