import { randomBytes } from 'node:crypto'
import { parse } from 'yaml'
import { z } from 'zod'
import {
  checkUser,
  type Rights,
  rightsOf,
  topicPrefixSchema,
  type User,
  userShape,
} from '../../wire/users.ts'
import { loadConfig } from '../config.ts'
import { asFailure, failure, SightlineError, systemCode } from '../errors.ts'
import { signatureOf } from '../file-signature.ts'
import type { Log } from '../log.ts'
import { isPasswordHash } from './passwords.ts'

/** A user as programs know it, wherever it was named. */
export interface Account {
  readonly name: string
  /** For lib/access/passwords.ts. A user without one comes with a client certificate, or not at all. */
  readonly secret: string | undefined
  readonly rights: Rights
}

const USERS_MAX = 100_000

/** A user of a users file. */
export const userSchema = z
  .strictObject({
    ...userShape,
    password: z
      .string()
      .refine(isPasswordHash, 'must be a hash that "sightline users passwd" made, not a password')
      .optional(),
  })
  .superRefine(checkUser)

export type FileUser = z.output<typeof userSchema>

/** @param taken names that stand elsewhere */
const usersFileSchema = (taken: ReadonlySet<string>) =>
  z.strictObject({
    topicPrefix: topicPrefixSchema(),
    // Not optional: a file that an editor has just emptied must not send everybody away.
    users: z
      .array(userSchema)
      .max(USERS_MAX)
      .superRefine((users, context) => {
        const names = new Set<string>()
        for (const [at, { name }] of users.entries()) {
          if (names.has(name) || taken.has(name)) {
            const where = names.has(name) ? 'a duplicate' : 'also in the configuration'
            context.addIssue({
              code: 'custom',
              path: [at, 'name'],
              message: `is ${where}: ${JSON.stringify(name)}`,
            })
          }
          names.add(name)
        }
      }),
  })

/**
 * A list of users that is cut between two entries is a list of users still, and who is missing would be sent away. So
 * the first line of a file that we write names its last one: YAML's mark for the end, with a number that each writing
 * draws anew. A copy that stopped half-way lacks that line, or has it of the file that it was to replace.
 */
const ANNOUNCEMENT =
  '# Users of Sightline, kept with "sightline users". The file is whole if its last line is: '
const ANNOUNCED_PATTERN = new RegExp(`^\\uFEFF?${ANNOUNCEMENT}(\\.\\.\\. # [0-9a-f]+)[ \\t]*\\r?\\n`)
const END_BYTES = 4

/** @param body YAML, its last line ended. @returns the file's text, the first and the last line with it */
export function wholeUsersText(body: string): string {
  const end = `... # ${randomBytes(END_BYTES).toString('hex')}`
  return `${ANNOUNCEMENT}${end}\n${body}${end}\n`
}

/** @returns the text without these two lines; as it is where it has no such first line. Errors: CONFIG_INVALID */
export function bodyOfUsersText(text: string, file: string): string {
  const [announcement = '', end] = ANNOUNCED_PATTERN.exec(text) ?? []
  if (end === undefined) return text
  const body = text.slice(announcement.length).trimEnd()
  if (body !== end && !body.endsWith(`\n${end}`))
    throw failure(
      'CONFIG_INVALID',
      `${file} is incomplete: it must end with the line "${end}". It was cut off, is still being copied, or has text after that line. Copy the whole file again, or move that text before the line.`,
    )
  return body.slice(0, -end.length)
}

export interface UsersList {
  readonly topicPrefix: string
  readonly users: readonly FileUser[]
}

/** Reads a users file. Errors, with file and line: USERS_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID. */
export function readUsers(file: string, taken: ReadonlySet<string> = new Set()): UsersList {
  try {
    return loadConfig(usersFileSchema(taken), { file, check: bodyOfUsersText })
  } catch (error) {
    if (!(error instanceof SightlineError)) throw error
    // A hash that was written without quotes between braces ends at its first comma, and the rest is taken for keys.
    if (error.code !== 'CONFIG_NOT_FOUND')
      throw failure(error.code, error.message.replace(/\$[A-Za-z0-9+/]{11,}/g, '$...'))
    throw failure(
      'USERS_NOT_FOUND',
      systemCode(error.cause) === 'ENOENT'
        ? `Users file ${file} not found. Create it with: sightline users add ${file} NAME --role ROLE`
        : `The users file ${file} cannot be read. Give this user the right to read it.`,
      error.cause,
    )
  }
}

/** The same for the text of one that was read before. */
export function usersOfText(text: string): UsersList {
  return usersFileSchema(new Set()).parse(parse(bodyOfUsersText(text, 'the users file')))
}

/** How a plain-text secret or a hash, and what stands beside it, make an account. */
export function accountOf(user: User, secret: string | undefined, topicPrefix?: string): Account {
  return { name: user.name, secret, rights: rightsOf(user, topicPrefix) }
}

const POLL_INTERVAL_MS = 2000

export interface UsersFileOptions {
  readonly file: string
  /** Names that stand elsewhere, and therefore not here. */
  readonly taken?: ReadonlySet<string>
  readonly log: Log
  readonly pollIntervalMs?: number
}

/**
 * A users file that is read again when it changes. One that became unreadable or wrong is complained of once, and the
 * users stay who they were.
 */
export class UsersFile implements Disposable {
  readonly #options: UsersFileOptions
  readonly #timer: NodeJS.Timeout
  #users: readonly FileUser[] = []
  #accounts: readonly Account[]
  #seen: string
  #looking: Promise<void> | undefined
  /** Called when the accounts have changed. */
  onChange: ((accounts: readonly Account[]) => void) | undefined

  private constructor(options: UsersFileOptions, seen: string) {
    this.#options = options
    this.#seen = seen
    this.#accounts = this.#read()
    this.#timer = setInterval(() => void this.#look(), options.pollIntervalMs ?? POLL_INTERVAL_MS).unref()
  }

  /** Errors: those of readUsers. */
  static async open(options: UsersFileOptions): Promise<UsersFile> {
    // Before it is read: what changes meanwhile is then read again.
    return new UsersFile(options, await signatureOf(options.file))
  }

  get accounts(): readonly Account[] {
    return this.#accounts
  }

  /** The same as they stand in the file: with their roles. */
  get users(): readonly FileUser[] {
    return this.#users
  }

  #read(): readonly Account[] {
    const { topicPrefix, users } = readUsers(this.#options.file, this.#options.taken)
    this.#users = users
    return users.map((user) => accountOf(user, user.password, topicPrefix))
  }

  /** Looks now: what was just written there then applies. */
  async look(): Promise<void> {
    await this.#looking // it may have looked before the change
    await this.#look()
  }

  #look(): Promise<void> {
    this.#looking ??= this.#compare().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #compare(): Promise<void> {
    const { file, log } = this.#options
    const now = await signatureOf(file)
    if (now === this.#seen) return
    this.#seen = now
    try {
      this.#accounts = this.#read()
    } catch (error) {
      const { code, message } = asFailure(error)
      log.error({ code, file }, `${message} Until this is fixed, the previous users apply.`)
      return
    }
    log.info({ file, users: this.#accounts.length }, 'users reloaded')
    this.onChange?.(this.#accounts)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}
