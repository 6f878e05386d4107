import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FileUser } from '../lib/access/users.ts'
import { ADMIN_USER, CONSOLE_USER, type Login, newLogin, SUBSCRIBER_USER, VIEWER_USER } from './edge-users.ts'
import { AUTHORITY_DAYS, CERTIFICATE_DAYS } from './limits.ts'
import { DEVICE_USER, EDGE_USER, INFERENCE_USER, type Kind } from './names.ts'

/** What nobody may know: made once for a deployment, and then kept. */
export interface Secrets {
  readonly users: Readonly<Record<string, Login>>
  /** Of a cloud: the users of the edges that were invited, whose passwords they alone have. */
  readonly edges?: readonly FileUser[]
  /** PEM. */
  readonly authority?: KeyPair
  readonly server?: KeyPair & { readonly hosts: readonly string[] }
  /** With it the labels of containers are made, which everyone who may use the engine sees. */
  readonly labelKey: string
}

export interface KeyPair {
  readonly cert: string
  readonly key: string
}

const USERS: Readonly<Record<Kind, readonly string[]>> = {
  edge: [DEVICE_USER],
  cloud: [SUBSCRIBER_USER, CONSOLE_USER, ADMIN_USER, VIEWER_USER],
  demo: [DEVICE_USER, EDGE_USER, SUBSCRIBER_USER, CONSOLE_USER, ADMIN_USER, VIEWER_USER],
  inference: [INFERENCE_USER],
}

/**
 * What is missing is made, what is there stays; the server's certificate follows the names it is to have.
 * @param hosts names and addresses of the cloud, those within its network included
 */
export async function completeSecrets(
  kind: Kind,
  hosts: readonly string[],
  had: Secrets | undefined,
): Promise<Secrets> {
  const users = { ...had?.users }
  for (const name of USERS[kind]) users[name] ??= await newLogin()
  const labelKey = had?.labelKey ?? randomBytes(32).toString('hex')
  if (kind === 'edge') return { users, labelKey }
  const edges = had?.edges ?? []
  const same = had?.server && [...had.server.hosts].sort().join() === [...hosts].sort().join()
  if (same && had.authority) return { users, edges, labelKey, authority: had.authority, server: had.server }
  return { users, edges, labelKey, ...(await makeCertificates(hosts, had?.authority)) }
}

/** Stands for secrets where only the form of what is made from them matters. */
export function placeholders(kind: Kind): Secrets {
  const users = Object.fromEntries(
    USERS[kind].map((name) => [name, { password: 'placeholder', hash: 'placeholder' }]),
  )
  return { users, labelKey: '', authority: { cert: '', key: '' } }
}

async function makeCertificates(
  hosts: readonly string[],
  had: KeyPair | undefined,
): Promise<{ authority: KeyPair; server: KeyPair & { hosts: readonly string[] } }> {
  const make = await import('../lib/tls/authority.ts')
  const folder = mkdtempSync(join(tmpdir(), 'sightline-certificates-'))
  try {
    const read = ({ cert, key }: KeyPair) => ({
      cert: readFileSync(cert, 'utf8'),
      key: readFileSync(key, 'utf8'),
    })
    if (had) {
      writeFileSync(join(folder, 'ca.pem'), had.cert, { mode: 0o600 })
      writeFileSync(join(folder, 'ca.key'), had.key, { mode: 0o600 })
    }
    const authority = had ?? read(await make.makeAuthority(folder, 'Sightline', { days: AUTHORITY_DAYS }))
    const days = had ? daysLeft(had.cert) : CERTIFICATE_DAYS
    const server = read(await make.makeServerCertificate(folder, 'server', hosts, { days }))
    return { authority, server: { ...server, hosts } }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What the authority signs must not outlive it. */
function daysLeft(cert: string): number {
  const days = Math.floor((new X509Certificate(cert).validToDate.getTime() - Date.now()) / 86_400_000) - 1
  return Math.max(1, Math.min(days, CERTIFICATE_DAYS))
}
