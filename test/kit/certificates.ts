import { join } from 'node:path'
import {
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
} from '../../commands/certificate-authority.ts'
import { type Test, temporaryFolder } from './programs.ts'

/** Certificates as `sightline certs` makes them. */

export interface Pair {
  readonly certFile: string
  readonly keyFile: string
}

export interface Authority {
  readonly folder: string
  readonly caFile: string
  /** For 127.0.0.1 and localhost. @param endedDaysAgo for one that has expired */
  server(
    name: string,
    settings?: { hosts?: readonly string[]; endedDaysAgo?: number; days?: number },
  ): Promise<Pair>
  client(name: string, settings?: { endedDaysAgo?: number; days?: number }): Promise<Pair>
}

const DAY_MS = 86_400_000
/** How long those that have expired were valid. */
const EXPIRED_DAYS = 10

export async function openAuthority(t: Test): Promise<Authority> {
  const folder = join(temporaryFolder(t), 'certs')
  await makeAuthority(folder, 'Test', { days: 1000, nowMs: Date.now() - 500 * DAY_MS })
  const validity = (endedDaysAgo: number | undefined, days = 30) =>
    endedDaysAgo === undefined
      ? { days }
      : { days: EXPIRED_DAYS, nowMs: Date.now() - (EXPIRED_DAYS + endedDaysAgo) * DAY_MS }
  const pair = ({ cert, key }: { cert: string; key: string }) => ({ certFile: cert, keyFile: key })
  return {
    folder,
    caFile: join(folder, 'ca.pem'),
    server: async (name, { hosts = ['127.0.0.1', 'localhost'], endedDaysAgo, days = 100 } = {}) =>
      pair(await makeServerCertificate(folder, name, hosts, validity(endedDaysAgo, days))),
    client: async (name, { endedDaysAgo, days } = {}) =>
      pair(await makeClientCertificate(folder, name, validity(endedDaysAgo, days))),
  }
}
