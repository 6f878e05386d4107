import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import type { Test } from 'tap'
import { Access } from '../../console/access/access.ts'
import { sharePages } from '../../console/access/share-pages.ts'
import { signInPages } from '../../console/access/sign-in-pages.ts'
import { consoleApi } from '../../console/api/server.ts'
import { type ConsoleConfig, consoleSchema } from '../../console/config.ts'
import type { Context } from '../../console/context.ts'
import { Database } from '../../console/database/database.ts'
import type { FileUser } from '../../lib/access/users.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { HttpServer } from '../../lib/http/server.ts'
import type { Log } from '../../lib/log.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import type { StoredCrop } from '../../wire/stored.ts'
import { makeCrop } from '../kit/crops.ts'
import { cheapHash } from '../kit/passwords.ts'
import { NORTH, storedOf } from './api-server.ts'

/** What access takes part in: a real server with the API and its own pages, a real database, bucket and users file. */

export const PASSWORD = 'correct horse battery'

export const PEOPLE: readonly FileUser[] = [
  { name: 'ada', role: 'admin' },
  { name: 'anna', role: 'analyst' },
  { name: 'otto', role: 'operator' },
  { name: 'nora', role: 'analyst', sites: ['north'], rights: ['live', 'recordings', 'export'] },
  { name: 'gate', role: 'device', site: 'north' },
]

export interface AccessServer {
  readonly url: string
  readonly access: Access
  readonly database: Database
  readonly bucket: FolderBucket
  readonly usersFile: string
  /** What was logged as a warning. */
  readonly warnings: string[]
  /** Moves its clock. */
  wait(ms: number): void
  /** Writes the users file, as an editor would. */
  write(users: readonly FileUser[]): void
  store(...crops: readonly Partial<CropMetadata>[]): Promise<StoredCrop[]>
  signIn(name: string, password?: string): Promise<Browser>
}

export interface AccessSettings {
  readonly runToken?: string
  readonly people?: readonly FileUser[]
  readonly noUsersFile?: boolean
  readonly config?: Record<string, unknown>
  readonly access?: Record<string, unknown>
  readonly folder?: string
  readonly port?: number
  /** The address of a PostgreSQL database; absent: SQLite. */
  readonly postgres?: string
}

export async function accessServer(t: Test, settings: AccessSettings = {}): Promise<AccessServer> {
  const { runToken, people = PEOPLE, noUsersFile = false, folder = t.testdir(), port = 0 } = settings
  const usersFile = join(folder, 'users.yaml')
  const write = (users: readonly FileUser[]) =>
    writeFileSync(usersFile, usersText(users.map((user) => ({ password: cheapHash(PASSWORD), ...user }))), {
      mode: 0o600,
    })
  if (!noUsersFile) write(people)
  const config: ConsoleConfig = consoleSchema.parse({
    bucket: { type: 'folder', path: join(folder, 'bucket') },
    access: { ...(noUsersFile ? {} : { usersFile }), ...settings.access },
    ...settings.config,
  })
  const warnings: string[] = []
  const quiet = () => {}
  const warn = (_fields: unknown, message?: string) => void warnings.push(message ?? String(_fields))
  const log = { info: quiet, warn, error: quiet, debug: quiet } as unknown as Log
  const stack = new AsyncDisposableStack()
  t.teardown(() => stack.disposeAsync())
  const { postgres } = settings
  const database = stack.use(
    await Database.open(
      postgres === undefined
        ? { type: 'sqlite', file: join(folder, 'console.sqlite') }
        : { type: 'postgres', url: postgres },
    ),
  )
  const bucket = stack.use(await FolderBucket.open({ path: join(folder, 'bucket') }))
  let aheadMs = 0
  const access = stack.use(
    await Access.open({
      config,
      database,
      log,
      runToken,
      now: () => Date.now() + aheadMs,
      pollIntervalMs: 50,
    }),
  )
  const absent = {} as Omit<Context, 'config' | 'log' | 'database' | 'bucket' | 'access'>
  const context: Context = { ...absent, config, log, database, bucket, access }
  const http = stack.use(
    await HttpServer.open({
      host: '127.0.0.1',
      port,
      trustedProxies: config.http.trustedProxies,
      metrics: new Registry(),
      health: () => ({ ok: true, checks: { database: 'open' } }),
      ownLogin: (request) => access.mayWatch(request),
      routes: async (app) => {
        await consoleApi(app, context)
        await signInPages(app, access)
        await sharePages(app, {
          shares: access.shares,
          database,
          bucket,
          log,
          requestsPerMinuteMax: 10_000,
          exportBytesMax: config.recordings.exportBytesMax,
        })
      },
    }),
  )
  const server: AccessServer = {
    url: http.url,
    access,
    database,
    bucket,
    usersFile,
    warnings,
    wait: (ms) => {
      aheadMs += ms
    },
    write,
    store: async (...crops) => {
      const stored = await Promise.all(
        crops.map(async (crop) => {
          const { metadata, payload } = makeCrop({ ...NORTH, ...crop })
          const entry = storedOf(metadata, payload)
          await bucket.create({ key: entry.key, body: payload, contentType: '', cacheControl: '' })
          return entry
        }),
      )
      await database.apply(stored, 'cloud')
      return stored
    },
    signIn: async (name, password = PASSWORD) => {
      const browser = new Browser(http.url)
      const answer = await browser.send('POST', '/api/v1/session', { name, password })
      if (answer.status !== 200) throw new Error(`${name} was answered ${answer.status}`)
      return browser
    },
  }
  return server
}

/** What of a browser matters here: cookies, and what it says of where a request comes from. */
export class Browser {
  readonly url: string
  readonly cookies = new Map<string, string>()

  constructor(url: string) {
    this.url = url
  }

  get cookie(): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async request(path: string, init: RequestInit = {}): Promise<Response> {
    const address = new URL(path, this.url)
    const response = await fetch(address, {
      redirect: 'manual',
      ...init,
      headers: {
        ...(address.origin === this.url ? { cookie: this.cookie } : {}),
        origin: this.url,
        'sec-fetch-site': 'same-origin',
        ...init.headers,
      },
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '' || /max-age=0|expires=thu, 01 jan 1970/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return response
  }

  get(path: string): Promise<Response> {
    return this.request(path)
  }

  send(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return this.request(path, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    })
  }

  form(
    path: string,
    fields: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return this.request(path, { method: 'POST', body: new URLSearchParams(fields), headers })
  }
}

export async function problemIn(response: Response): Promise<string> {
  const { code } = (await response.json()) as { code?: string }
  return `${response.status} ${code}`
}
