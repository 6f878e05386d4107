import { createHash } from 'node:crypto'
import { hashPassword } from '../../lib/access/passwords.ts'
import { type FileUser, UsersFile, userSchema } from '../../lib/access/users.ts'
import { addUser, canChangeUsers, changeUser, removeUser, setPassword } from '../../lib/access/users-file.ts'
import { asFailure, type ErrorCode, failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { type ExtraRight, isPersonRole, type PersonRole } from '../../wire/users.ts'
import { EVERYTHING, type Person, personOf } from './may.ts'
import { hashOf } from './secrets.ts'
import type { SignedInBy, Store } from './sessions.ts'

/**
 * Who there is: the people of the users file, those of an OpenID provider, and the administrator of one run. What somebody
 * may is asked here each time anew, so that a change of the file takes effect at once.
 */

/** Whoever has the token of the run. */
export const RUN_USER = 'demo'
const RUN_TOKEN_CHARACTERS_MIN = 16
/** What is shorter is found by trying (NIST SP 800-63B, 3.1.1). */
export const PASSWORD_CHARACTERS_MIN = 8

export interface Known {
  readonly person: Person
  readonly by: SignedInBy
  /** Changes with what he signs in with. */
  readonly fingerprint: string
}

/** What an administrator says of a user; null takes a restriction away. */
export interface UserRights {
  readonly role?: PersonRole
  readonly sites?: readonly string[] | null
  readonly cameras?: readonly string[] | null
  readonly rights?: readonly ExtraRight[] | null
}

export interface OpenIdPerson {
  readonly name: string
  readonly issuer: string
  readonly subject: string
  readonly role: PersonRole
  /** undefined: every site. */
  readonly sites: readonly string[] | undefined
}

export interface PeopleOptions {
  readonly store: Store
  readonly log: Log
  readonly usersFile: string | undefined
  readonly runToken: string | undefined
  /** For how long an OpenID user is one after he last signed in; undefined: there is no provider. */
  readonly openIdMsMax: number | undefined
  /** Whether an OpenID user can be an administrator, so that the file needs none. */
  readonly hasOpenIdAdmins: boolean
  readonly pollIntervalMs?: number
}

const BROKEN =
  'The users file cannot be read as it is now, so nothing was changed. The log of the console says what is wrong in it.'
/** What a change of the file may end with whatever is asked: its own sentences name the file. */
const IN_OTHER_WORDS: Partial<Record<ErrorCode, string>> = {
  FOLDER_UNWRITABLE:
    'The users file cannot be changed now: somebody else is changing it. Try again; if that does not help, the log of the console says more.',
  USERS_NOT_FOUND: 'The users file is not there any more. The log of the console says more.',
  CONFIG_SYNTAX: BROKEN,
  CONFIG_INVALID: BROKEN,
  USER_EXISTS: 'The users file has a user of this name by now. Choose another name.',
  USER_UNKNOWN: 'The users file does not have this user any more.',
}

export class People implements Disposable {
  readonly #options: PeopleOptions
  readonly #file: UsersFile | undefined
  #byName: ReadonlyMap<string, FileUser> = new Map()
  /** Called when the users file has changed, with whom it has now. */
  onChange: (() => void) | undefined

  private constructor(options: PeopleOptions, file: UsersFile | undefined) {
    this.#options = options
    this.#file = file
    this.#take()
    if (file)
      file.onChange = () => {
        this.#take()
        this.onChange?.()
      }
  }

  /** Errors: those of a users file; CONFIG_INVALID for a token of the run that is too short. */
  static async open(options: PeopleOptions): Promise<People> {
    const { usersFile, runToken, log, pollIntervalMs } = options
    if (runToken !== undefined && (runToken.length < RUN_TOKEN_CHARACTERS_MIN || !/^[\w-]+$/.test(runToken)))
      throw failure(
        'CONFIG_INVALID',
        `The token of this run must be at least ${RUN_TOKEN_CHARACTERS_MIN} letters, digits, dashes and underscores. Set a longer one in CONSOLE_RUN_TOKEN.`,
      )
    const taken = runToken === undefined ? new Set<string>() : new Set([RUN_USER])
    const file =
      usersFile === undefined
        ? undefined
        : await UsersFile.open({ file: usersFile, taken, log, pollIntervalMs })
    return new People(options, file)
  }

  #take(): void {
    const users = this.#file?.users ?? []
    this.#byName = new Map(users.filter(({ role }) => isPersonRole(role)).map((user) => [user.name, user]))
  }

  /** People of the users file, sorted by name. */
  get users(): readonly FileUser[] {
    return [...this.#byName.values()].sort((one, other) => (one.name < other.name ? -1 : 1))
  }

  get names(): ReadonlySet<string> {
    return new Set(this.#byName.keys())
  }

  get hasFile(): boolean {
    return this.#file !== undefined
  }

  /** Whether users can be added and changed here: there is a file, and it can be written. Asked anew each time. */
  async canChange(): Promise<boolean> {
    const { usersFile } = this.#options
    return usersFile !== undefined && (await canChangeUsers(usersFile))
  }

  /** Whether anybody could get in with a name and a password. */
  get havePasswords(): boolean {
    return this.users.some(({ password }) => password !== undefined)
  }

  /** For Logins: what the password is compared with. */
  secretOf(name: string): string | undefined {
    return this.#byName.get(name)?.password
  }

  isRunToken(token: string): boolean {
    const { runToken } = this.#options
    // Of hashes, whose comparison tells nothing by its time.
    return runToken !== undefined && hashOf(token).equals(hashOf(runToken))
  }

  /** @returns undefined where there is nobody of that name (any more) */
  async find(name: string): Promise<Known | undefined> {
    const { runToken } = this.#options
    if (runToken !== undefined && name === RUN_USER)
      return {
        person: { name, role: 'admin', scope: EVERYTHING, rights: new Set(['live', 'recordings', 'export']) },
        by: 'demo',
        fingerprint: fingerprintOf('run', runToken),
      }
    const user = this.#byName.get(name)
    if (user) {
      const person = personOf(user)
      return person && { person, by: 'password', fingerprint: fingerprintOf('file', user.password ?? '') }
    }
    return this.#findOpenId(name)
  }

  async #findOpenId(name: string): Promise<Known | undefined> {
    const { store, openIdMsMax } = this.#options
    if (openIdMsMax === undefined) return undefined
    const row = await store.read
      .selectFrom('openid_users')
      .selectAll()
      .where('user', '=', name)
      .executeTakeFirst()
    if (!row || store.now() >= row.signed_in_at_ms + openIdMsMax) return undefined
    const sites = row.sites_json === null ? undefined : (JSON.parse(row.sites_json) as string[])
    const person = personOf({ name, role: row.role as PersonRole, sites })
    return person && { person, by: 'oidc', fingerprint: fingerprintOf(row.issuer, row.subject) }
  }

  /**
   * Writes down who has just come from the provider.
   * @param forget called first where the name was another's there before: nothing of his must be left
   *   Errors: OPENID_REFUSED where the users file has that name
   */
  async rememberOpenId(person: OpenIdPerson, forget: () => Promise<void>): Promise<void> {
    const { name, issuer, subject, role, sites } = person
    if (this.#byName.has(name) || this.#file?.users.some((user) => user.name === name) || name === RUN_USER)
      throw failure(
        'OPENID_REFUSED',
        `There is a user ${JSON.stringify(name)} with a password here. Sign in with the password, or ask an administrator to remove that user from the users file.`,
      )
    const { read, write, now } = this.#options.store
    const row = {
      issuer,
      subject,
      role,
      sites_json: sites === undefined ? null : JSON.stringify(sites),
      signed_in_at_ms: now(),
    }
    const before = await read
      .selectFrom('openid_users')
      .select(['issuer', 'subject'])
      .where('user', '=', name)
      .executeTakeFirst()
    // Before the name is the other's: a console that ends in between has given nobody anything.
    if (before && (before.issuer !== issuer || before.subject !== subject)) await forget()
    await write
      .insertInto('openid_users')
      .values({ user: name, ...row })
      .onConflict((conflict) => conflict.column('user').doUpdateSet(row))
      .execute()
  }

  /** @returns OpenID users whose name the users file has now: they are none any more */
  async dropNamesakes(): Promise<readonly string[]> {
    const { read, write } = this.#options.store
    const rows = await read.selectFrom('openid_users').select('user').execute()
    const namesakes = rows.map(({ user }) => user).filter((user) => this.#byName.has(user))
    if (namesakes.length > 0) await write.deleteFrom('openid_users').where('user', 'in', namesakes).execute()
    return namesakes
  }

  /** Those of the provider who still are users. */
  async openIdUsers(): Promise<readonly (OpenIdPerson & { readonly signedInAtMs: number })[]> {
    const { store, openIdMsMax } = this.#options
    if (openIdMsMax === undefined) return []
    const rows = await store.read
      .selectFrom('openid_users')
      .selectAll()
      .where('signed_in_at_ms', '>', store.now() - openIdMsMax)
      .orderBy('user')
      .execute()
    return rows.map((row) => ({
      name: row.user,
      issuer: row.issuer,
      subject: row.subject,
      role: row.role as PersonRole,
      sites: row.sites_json === null ? undefined : (JSON.parse(row.sites_json) as string[]),
      signedInAtMs: row.signed_in_at_ms,
    }))
  }

  /** Errors: NOT_ALLOWED (no file), FOLDER_UNWRITABLE, USER_EXISTS, PARAMETER_INVALID, and those of the file */
  async add(name: string, rights: UserRights, password: string): Promise<void> {
    // Machines' users too: their names are taken as well.
    if (this.#file?.users.some((user) => user.name === name) || (await this.find(name)))
      throw failure('USER_EXISTS', `There is a user ${JSON.stringify(name)}. Choose another name.`)
    const user = checked({ name, ...rights })
    checkPassword(password)
    const hash = await hashPassword(password)
    await this.#edit((file) => addUser(file, { ...user, password: hash }))
  }

  /** Errors: NOT_ALLOWED, FOLDER_UNWRITABLE, NOT_FOUND, LAST_ADMIN, PARAMETER_INVALID, and those of the file */
  async change(name: string, rights: UserRights): Promise<void> {
    const user = this.#byName.get(name)
    if (!user) throw this.#nobody(name)
    const given = Object.fromEntries(Object.entries(rights).filter(([, value]) => value !== undefined))
    checked({ ...user, ...given })
    await this.#edit((file) => changeUser(file, name, rights, (users) => this.#keepAdmin(users)))
  }

  /** Errors: NOT_ALLOWED, FOLDER_UNWRITABLE, NOT_FOUND, PARAMETER_INVALID, and those of the file */
  async setPassword(name: string, password: string): Promise<void> {
    // The users of machines, which a broker may have in the same file, are not the console's.
    if (!this.#byName.has(name)) throw this.#nobody(name)
    checkPassword(password)
    const hash = await hashPassword(password)
    await this.#edit((file) => setPassword(file, name, hash))
  }

  /** Errors: NOT_ALLOWED, FOLDER_UNWRITABLE, NOT_FOUND, LAST_ADMIN, and those of the file */
  async remove(name: string): Promise<void> {
    if (!this.#byName.has(name)) {
      const { numDeletedRows } = await this.#options.store.write
        .deleteFrom('openid_users')
        .where('user', '=', name)
        .executeTakeFirst()
      if (numDeletedRows === 0n) throw this.#nobody(name)
      return
    }
    await this.#edit((file) => removeUser(file, name, (users) => this.#keepAdmin(users)))
  }

  /** Errors: NOT_ALLOWED, FOLDER_UNWRITABLE, and those of the change, in words that name no path of this machine. */
  async #edit(change: (file: string) => Promise<void>): Promise<void> {
    const { usersFile, log } = this.#options
    if (usersFile === undefined)
      throw failure(
        'NOT_ALLOWED',
        'There is no users file to write to. Name one under "access.usersFile" in the configuration.',
      )
    if (!(await canChangeUsers(usersFile)))
      throw failure(
        'FOLDER_UNWRITABLE',
        'The users file cannot be changed here: its folder is read-only. Change it with sightline users where the file is.',
      )
    try {
      await change(usersFile)
    } catch (error) {
      const { code, message } = asFailure(error)
      const inOtherWords = IN_OTHER_WORDS[code]
      if (inOtherWords === undefined) throw error
      log.warn({ code }, message)
      throw failure(code, inOtherWords, error)
    }
    await this.#file?.look()
  }

  #nobody(name: string): Error {
    return failure('NOT_FOUND', `There is no user ${JSON.stringify(name)}.`)
  }

  #keepAdmin(users: readonly FileUser[]): void {
    if (this.#options.hasOpenIdAdmins) return
    const isAdmin = ({ role, password }: FileUser) => role === 'admin' && password !== undefined
    if (!users.some(isAdmin) && this.users.some(isAdmin))
      throw failure(
        'LAST_ADMIN',
        'This is the last administrator with a password: without them nobody can manage users. Add another one first.',
      )
  }

  [Symbol.dispose](): void {
    this.#file?.[Symbol.dispose]()
  }
}

/** As the file would have it; null is absent. Errors: PARAMETER_INVALID */
function checked(user: Readonly<Record<string, unknown>>): FileUser {
  const result = userSchema.safeParse(
    Object.fromEntries(Object.entries(user).filter(([, value]) => value !== null)),
  )
  if (result.success) return result.data
  const [first] = result.error.issues
  throw failure('PARAMETER_INVALID', `"${first?.path.join('.')}" ${first?.message}.`)
}

function checkPassword(password: string): void {
  if ([...password].length < PASSWORD_CHARACTERS_MIN)
    throw failure('PARAMETER_INVALID', `A password needs at least ${PASSWORD_CHARACTERS_MIN} characters.`)
}

/** So that what is kept of a session tells nothing of a password, nor of its hash. */
function fingerprintOf(kind: string, secret: string): string {
  return createHash('sha256')
    .update(JSON.stringify([kind, secret]))
    .digest('base64url')
}
