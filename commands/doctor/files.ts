import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { ConsoleConfig } from '../../console/config.ts'
import { readUsers } from '../../lib/access/users.ts'
import { readNamedFile, readSecret } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { readServerFiles } from '../../lib/tls/certificates.ts'
import { isPersonRole } from '../../wire/users.ts'
import type { Configuration } from './configuration.ts'
import { type Finding, fail, failed, ok, warn } from './finding.ts'

/** Files that a configuration names: certificates, keys, passwords, users. */

const DAY_MS = 86_400_000
const EXPIRES_SOON_DAYS = 30
/** Permissions of others, and of group and others. */
export const OTHERS = 0o007
export const GROUP_AND_OTHERS = 0o077

interface Pair {
  /** The key that names the files. */
  readonly where: string
  readonly certFile?: string
  readonly keyFile?: string
  readonly authorities: readonly { readonly key: string; readonly file: string | undefined }[]
}

interface Secret {
  readonly owner: string
  readonly password?: string
  readonly passwordFile?: string
}

export function checkFiles(configuration: Configuration, nowMs = Date.now()): Finding[] {
  const { file, config } = configuration
  const secrets = secretsOf(configuration)
  const findings: Finding[] = []
  if (secrets.some(({ password }) => password !== undefined)) findings.push(...secrecy(file, OTHERS))
  for (const pair of pairsOf(configuration)) findings.push(...checkPair(pair, nowMs))
  for (const secret of secrets) if (secret.passwordFile !== undefined) findings.push(...checkSecret(secret))
  if (config.http.usersFile !== undefined) findings.push(...checkUsers(config.http.usersFile, new Set()))
  if (configuration.program === 'broker' && configuration.config.usersFile !== undefined) {
    const taken = new Set(configuration.config.users.map(({ name }) => name))
    findings.push(...checkUsers(configuration.config.usersFile, taken))
  }
  if (configuration.program === 'console') findings.push(...checkPeople(configuration.config.access))
  return findings
}

function pairsOf({ program, config }: Configuration): Pair[] {
  const client = (where: string, it: { caFile?: string; certFile?: string; keyFile?: string }) => ({
    where,
    certFile: it.certFile,
    keyFile: it.keyFile,
    authorities: [{ key: `${where}.caFile`, file: it.caFile }],
  })
  const pairs: Pair[] =
    program === 'broker'
      ? [
          ...config.listeners.flatMap(({ tls }, at) => {
            const where = `listeners.${at}.tls`
            const authorities = [{ key: `${where}.clientCaFile`, file: tls?.clientCaFile }]
            return tls ? [{ where, ...tls, authorities }] : []
          }),
          ...config.bridges.map((bridge, at) => client(`bridges.${at}`, bridge)),
        ]
      : program === 'inference'
        ? (['rest', 'grpc'] as const).flatMap((name) => {
            const tls = config[name]?.tls
            const where = `${name}.tls`
            const authorities = [{ key: `${where}.clientCaFile`, file: tls?.clientCaFile }]
            return tls ? [{ where, ...tls, authorities }] : []
          })
        : [client('broker', config.broker)]
  if (program === 'device')
    for (const [name, it] of Object.entries(config.listen))
      if (typeof it === 'object' && it.tls)
        pairs.push({ where: `listen.${name}.tls`, ...it.tls, authorities: [] })
  if (config.http.tls) pairs.push({ where: 'http.tls', ...config.http.tls, authorities: [] })
  return pairs
}

function secretsOf({ program, config }: Configuration): Secret[] {
  if (program === 'broker')
    return [
      ...config.users.map((user) => ({ ...user, owner: `user "${user.name}"` })),
      ...config.bridges.map((bridge) => ({ ...bridge, owner: `bridge "${bridge.name}"` })),
    ]
  if (program === 'inference') return []
  const secrets: Secret[] = [{ ...config.broker, owner: '"broker"' }]
  if (program !== 'console') return secrets
  const { database, access, notices } = config
  if (notices.smtp) secrets.push({ ...notices.smtp, owner: '"notices.smtp"' })
  if (database.type === 'postgres') secrets.push({ ...database, owner: '"database"' })
  if (access.openId) {
    const { clientSecret, clientSecretFile } = access.openId
    secrets.push({ owner: '"access.openId"', password: clientSecret, passwordFile: clientSecretFile })
  }
  return secrets
}

/** Who may sign in to the console. */
function checkPeople({ usersFile, openId }: ConsoleConfig['access']): Finding[] {
  if (usersFile === undefined)
    return openId
      ? []
      : [
          warn(
            'users',
            'neither "access.usersFile" nor "access.openId" is set',
            'Nobody can sign in. Make a users file: sightline users add FILE NAME --role admin',
          ),
        ]
  const findings = checkUsers(usersFile, new Set())
  if (openId || findings.some(({ level }) => level === 'FAIL')) return findings
  if (readUsers(usersFile).users.some(({ role }) => isPersonRole(role))) return findings
  return [
    ...findings,
    warn(
      `users ${usersFile}`,
      'has nobody who may sign in to the console',
      `Add a person: sightline users add ${usersFile} NAME --role admin`,
    ),
  ]
}

function checkPair({ where, certFile, keyFile, authorities }: Pair, nowMs: number): Finding[] {
  const findings: Finding[] = []
  for (const { key, file } of authorities)
    if (file !== undefined)
      findings.push(
        checked(`certificate ${file}`, () =>
          validity(`certificate ${file}`, parse(file, key), `${key}, an authority`, nowMs),
        ),
      )
  if (certFile === undefined && keyFile === undefined) return findings
  const what = `certificate ${certFile ?? where}`
  if (certFile === undefined || keyFile === undefined)
    return [
      ...findings,
      fail(
        what,
        `${where} has a ${certFile === undefined ? 'key but no certificate' : 'certificate but no key'}`,
        'Set both "certFile" and "keyFile", or neither.',
      ),
    ]
  findings.push(
    checked(what, () => {
      readServerFiles({ certFile, keyFile }, where, 0) // whether they fit; how long they are valid is said below
      return validity(what, parse(certFile, `${where}.certFile`), where, nowMs)
    }),
    ...secrecy(keyFile, OTHERS),
  )
  return findings
}

export function checked(what: string, check: () => Finding): Finding {
  try {
    return check()
  } catch (error) {
    return failed(what, error, 'Correct the file, or the key that names it.')
  }
}

function parse(file: string, key: string): X509Certificate {
  const pem = readNamedFile(file, key)
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw failure(
      'CONFIG_INVALID',
      `The file ${file} contains no certificate. Set "${key}" to one in PEM format.`,
      error,
    )
  }
}

export function validity(
  what: string,
  { validFromDate, validToDate }: X509Certificate,
  of: string,
  nowMs: number,
) {
  const until = validToDate.toISOString().slice(0, 10)
  const days = Math.floor((validToDate.getTime() - nowMs) / DAY_MS)
  if (validToDate.getTime() <= nowMs)
    return fail(
      what,
      `expired on ${until} (${of})`,
      'Renew it ("sightline certs renew", if it was made there). Clients that check it cannot connect.',
    )
  if (validFromDate.getTime() > nowMs)
    return fail(
      what,
      `is not valid before ${validFromDate.toISOString()} (${of})`,
      "Is this machine's clock correct? If so, wait, or make a new certificate.",
    )
  if (days < EXPIRES_SOON_DAYS)
    return warn(
      what,
      `expires on ${until}, in ${days} ${days === 1 ? 'day' : 'days'} (${of})`,
      'Renew it before then ("sightline certs renew", if it was made there).',
    )
  return ok(what, `valid until ${until}, ${days} days (${of})`)
}

/** A warn where a file with a secret in it may be read by whom it does not concern. */
export function secrecy(file: string, forbidden: number): Finding[] {
  const mode = (statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o777
  if ((mode & forbidden) === 0) return []
  const who = forbidden === OTHERS ? 'every user of this machine' : 'other users of this machine'
  return [
    warn(
      `secret ${file}`,
      `${who} can read it (mode ${mode.toString(8).padStart(3, '0')})`,
      `Allow only its owner, the user that the program runs as: chmod 600 ${file}`,
    ),
  ]
}

function checkSecret({ owner, password, passwordFile }: Secret): Finding[] {
  const what = `password file ${passwordFile}`
  const readable = checked(what, () => {
    const secret = readSecret(owner, { password, passwordFile })
    return secret === ''
      ? fail(what, `is empty (${owner})`, 'Write the password into it, on one line.')
      : ok(what, `readable (${owner})`)
  })
  return [readable, ...secrecy(passwordFile as string, OTHERS)]
}

function checkUsers(file: string, taken: ReadonlySet<string>): Finding[] {
  const what = `users ${file}`
  const list = checked(what, () => {
    const { users } = readUsers(file, taken)
    if (users.length > 0) return ok(what, `${users.length} ${users.length === 1 ? 'user' : 'users'}`)
    return warn(
      what,
      'has no users',
      `Nobody can log in. Add one: sightline users add ${file} NAME --role ROLE`,
    )
  })
  return [list, ...secrecy(file, GROUP_AND_OTHERS)]
}

/** PEM of what a client trusts and shows, for the connections that are tried. What is wrong with it is said by checkFiles. */
export function credentialsOf(it: {
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
}) {
  const read = (file: string | undefined) => (file === undefined ? undefined : readFileSync(file, 'utf8'))
  return { ca: read(it.caFile), cert: read(it.certFile), key: read(it.keyFile) }
}
