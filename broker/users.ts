import { isPasswordHash, PHC_PREFIX } from '../lib/access/passwords.ts'
import { type Account, accountOf, UsersFile } from '../lib/access/users.ts'
import { readSecret } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { Access } from './access.ts'
import type { BrokerConfig } from './config.ts'

/** The broker's users: those of its configuration, and those of the users file as it is now. */
export class Users implements Disposable {
  readonly access: Access
  readonly #file: UsersFile | undefined
  /** Called with the users whose connections have to go, and what they might publish to. */
  onGone: ((gone: ReadonlyMap<string, (topic: string) => boolean>) => void) | undefined

  private constructor(inline: readonly Account[], file: UsersFile | undefined, log: Log) {
    this.#file = file
    const all = () => [...inline, ...(file?.accounts ?? [])]
    this.access = new Access({
      accounts: all(),
      anonymous: inline.length === 0 && file === undefined,
    })
    if (file)
      file.onChange = () => {
        const gone = this.access.replace(all())
        if (gone.size === 0) return
        log.info(
          { users: [...gone.keys()].slice(0, NAMES_LOGGED_MAX), count: gone.size },
          'closing their connections',
        )
        this.onGone?.(gone)
      }
  }

  /** Errors: CONFIG_INVALID, CONFIG_NOT_FOUND, and those of a users file. */
  static async open(
    { users, usersFile, topicPrefix }: Pick<BrokerConfig, 'users' | 'usersFile' | 'topicPrefix'>,
    log: Log,
  ): Promise<Users> {
    const inline = users.map((user) => accountOf(user, secretOf(user), topicPrefix))
    const taken = new Set(users.map(({ name }) => name))
    const file = usersFile === undefined ? undefined : await UsersFile.open({ file: usersFile, taken, log })
    return new Users(inline, file, log)
  }

  [Symbol.dispose](): void {
    this.#file?.[Symbol.dispose]()
  }
}

const NAMES_LOGGED_MAX = 20

function secretOf(user: BrokerConfig['users'][number]): string | undefined {
  const secret = readSecret(`user "${user.name}"`, user)
  if (secret?.startsWith(PHC_PREFIX) && !isPasswordHash(secret))
    throw failure(
      'CONFIG_INVALID',
      `Invalid password hash of user "${user.name}": malformed, or too costly to check. Make it again.`,
    )
  return secret
}
