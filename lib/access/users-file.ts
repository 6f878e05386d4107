import { access, constants, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Document, isMap, isSeq, parseDocument, type YAMLSeq } from 'yaml'
import {
  extraRightsOf,
  isConfined,
  isPersonRole,
  type PersonRole,
  ROLES,
  rightsOf,
} from '../../wire/users.ts'
import { editFile } from '../edit-file.ts'
import { failure, systemCode } from '../errors.ts'
import {
  bodyOfUsersText,
  type FileUser,
  readUsers,
  type UsersList,
  userSchema,
  wholeUsersText,
} from './users.ts'

/** `sightline users`: changes to a users file, whole or not at all; what else stands in it stays. */

const NEW_BODY = 'users: []\n'
/** The first line of files that earlier versions made. */
const EARLIER_FIRST_LINE = '# Users of Sightline, kept with: sightline users add|passwd|remove|list\n'

/** A users file of these, as `sightline users` would have made it. */
export function usersText(users: readonly FileUser[]): string {
  const document = parseDocument(NEW_BODY)
  const list = document.get('users') as YAMLSeq
  for (const user of users) append(list, document, user)
  return textOf(document)
}

/** Checks what the command line says of a user. Errors: USAGE, USER_EXISTS, and those of readUsers. */
export function newUser(file: string, name: string, rights: Readonly<Record<string, unknown>>): FileUser {
  const given = Object.fromEntries(Object.entries(rights).filter(([, value]) => value !== undefined))
  if (given.role === undefined && given.publish === undefined && given.subscribe === undefined)
    throw failure(
      'USAGE',
      `--role is missing: one of ${ROLES.join(', ')}. Or give single rights with --publish and --subscribe. See sightline users --help.`,
    )
  const result = userSchema.safeParse({ name, ...given })
  if (!result.success) {
    const problems = result.error.issues.map(({ path: [key], message }) => {
      const what = key === 'name' ? `NAME "${name}"` : `--${String(key)}`
      return `${what} ${message.charAt(0).toLowerCase()}${message.slice(1)}.`
    })
    throw failure('USAGE', `${problems.join('\n')}\nSee sightline users --help.`)
  }
  if (readOrNone(file)?.users.some((user) => user.name === name)) throw exists(file, name)
  return result.data
}

/** Errors: USER_UNKNOWN, and those of readUsers. */
export function knownUser(file: string, name: string): FileUser {
  const user = readUsers(file).users.find((it) => it.name === name)
  if (!user) throw unknown(file, name)
  return user
}

/** Whether this process could change it now: the folder takes files, and the owner would stay the same. */
export async function canChangeUsers(file: string): Promise<boolean> {
  try {
    const target = await realpath(file)
    await access(dirname(target), constants.W_OK | constants.X_OK)
    const user = process.geteuid?.()
    return user === undefined || user === 0 || (await stat(target)).uid === user
  } catch {
    return false
  }
}

/** Errors: USER_EXISTS, FOLDER_UNWRITABLE, DISK_FULL, and those of readUsers. */
export async function addUser(file: string, user: FileUser): Promise<void> {
  await edit(file, true, (users, document) => {
    if (at(users, user.name) >= 0) throw exists(file, user.name)
    append(users, document, user)
  })
}

function append(users: YAMLSeq, document: Document, user: FileUser): void {
  if (users.items.length === 0) users.flow = false // as it was written: []
  const { password, publish, subscribe, ...rest } = user
  const node = document.createNode({ ...rest, publish, subscribe, password }, { keepUndefined: false })
  for (const key of ['sites', 'cameras', 'rights', 'publish', 'subscribe']) {
    const list = node.get(key)
    if (isSeq(list)) list.flow = true
  }
  users.add(node)
}

function textOf(document: Document): string {
  if (document.directives) document.directives.docEnd = false // the end is ours to write
  return wholeUsersText(document.toString({ lineWidth: 0, flowCollectionPadding: false }))
}

/** @param hash undefined: the user has no password any more. Errors: USER_UNKNOWN, FOLDER_UNWRITABLE, DISK_FULL, and those of readUsers */
export async function setPassword(file: string, name: string, hash: string | undefined): Promise<void> {
  await edit(file, false, (users) => {
    const user = users.items[at(users, name)]
    if (!isMap(user)) throw unknown(file, name)
    if (hash === undefined) user.delete('password')
    else user.set('password', hash)
  })
}

/** Throws where the users, as they would be, must not be so; then nothing is changed. */
export type UsersCheck = (users: readonly FileUser[]) => void

/** Errors: USER_UNKNOWN, FOLDER_UNWRITABLE, DISK_FULL, those of readUsers, and those of the check. */
export async function removeUser(file: string, name: string, check?: UsersCheck): Promise<void> {
  const change = (users: YAMLSeq) => {
    const place = at(users, name)
    if (place < 0) throw unknown(file, name)
    users.delete(place)
  }
  await edit(file, false, change, check)
}

/**
 * @param rights what a person may; null takes a key away, an absent one stays
 *   Errors: USER_UNKNOWN, CONFIG_INVALID, FOLDER_UNWRITABLE, DISK_FULL, those of readUsers, and those of the check.
 */
export async function changeUser(
  file: string,
  name: string,
  rights: Readonly<Partial<Record<'role' | 'sites' | 'cameras' | 'rights', unknown>>>,
  check?: UsersCheck,
): Promise<void> {
  const change = (users: YAMLSeq, document: Document) => {
    const user = users.items[at(users, name)]
    if (!isMap(user)) throw unknown(file, name)
    for (const [key, value] of Object.entries(rights)) {
      if (value === undefined) continue
      if (value === null) user.delete(key)
      else user.set(key, document.createNode(value, { flow: true }))
    }
  }
  await edit(file, false, change, check)
}

/** @returns a table, or a line of JSON for each user; without the hashes. Errors: those of readUsers */
export function listUsers(file: string, json: boolean): string {
  const { topicPrefix, users } = readUsers(file)
  if (json)
    return users
      .map(({ password, ...user }) => {
        const login = password === undefined ? 'certificate' : 'password'
        return `${JSON.stringify({ ...user, login, rights: rightsOf(user, topicPrefix) })}\n`
      })
      .join('')
  if (users.length === 0) return `${file} contains no users.\n`
  const rows = [
    ['name', 'role', 'login', 'may'],
    ...users.map((user) => [
      user.name,
      user.role ?? '-',
      user.password === undefined ? 'certificate' : 'password',
      inWords(user, topicPrefix),
    ]),
  ]
  const width = (column: number) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0))
  const widths = [width(0), width(1), width(2), 0]
  return rows
    .map((cells) => `${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`)
    .join('')
}

/** What a user may do, in words. */
export function mayDo(file: string, name: string): string {
  return inWords(knownUser(file, name), readUsers(file).topicPrefix)
}

function inWords(user: FileUser, topicPrefix: string): string {
  if (user.role === 'admin') return 'do everything'
  const { publish, subscribe, pages } = rightsOf(user, topicPrefix)
  const parts = [
    ...(publish.length > 0 ? [`publish ${publish.join(' ')}`] : []),
    ...(subscribe.length > 0 ? [`subscribe ${subscribe.join(' ')}`] : []),
    ...(isPersonRole(user.role) ? [inTheConsole(user, user.role)] : []),
    ...(pages ? ['view the pages'] : []),
  ]
  return parts.length === 0 ? 'do nothing' : parts.join(', ')
}

/** `use the console (live picture, export) of home, office/pi/door` */
function inTheConsole(user: FileUser, role: PersonRole): string {
  const extra = extraRightsOf(role, user.rights).map((right) => (right === 'live' ? 'live picture' : right))
  const where = [...(user.sites ?? []), ...(user.cameras ?? [])]
  const only = isConfined(user) ? ` for ${where.length === 0 ? 'no site' : where.join(' ')} only` : ''
  return `use the console${extra.length === 0 ? '' : ` (${extra.join(', ')})`}${only}`
}

const exists = (file: string, name: string) =>
  failure('USER_EXISTS', `User "${name}" already exists in ${file}. Choose another name.`)

const unknown = (file: string, name: string) =>
  failure('USER_UNKNOWN', `User "${name}" not found in ${file}. See: sightline users list ${file}`)

function readOrNone(file: string): UsersList | undefined {
  try {
    return readUsers(file)
  } catch (error) {
    if (systemCode(error) === 'USERS_NOT_FOUND' && systemCode((error as Error).cause) === 'ENOENT')
      return undefined
    throw error
  }
}

function at(users: YAMLSeq, name: string): number {
  return users.items.findIndex((user) => isMap(user) && user.get('name') === name)
}

async function edit(
  file: string,
  create: boolean,
  change: (users: YAMLSeq, document: Document) => void,
  check?: UsersCheck,
): Promise<void> {
  await editFile(file, {
    change: (text) => {
      if (text !== undefined || !create) readUsers(file)
      const body = text === undefined ? NEW_BODY : bodyOfUsersText(text, file)
      const document = parseDocument(body.replace(EARLIER_FIRST_LINE, ''))
      const users = document.get('users')
      if (!isSeq(users)) throw failure('CONFIG_INVALID', `${file}: "users" must be a list, not a YAML alias.`)
      change(users, document)
      return textOf(document)
    },
    // No broker is to find there what it cannot read.
    check: (written) => {
      const { users } = readUsers(written)
      check?.(users)
    },
  })
}
