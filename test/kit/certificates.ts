import 'reflect-metadata' // @peculiar/x509 wants it first
import { KeyObject, webcrypto } from 'node:crypto'
import { join } from 'node:path'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import {
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
  makeSignerCertificate,
} from '../../lib/tls/authority.ts'
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
  /** @param device `site/device` */
  signer(device: string, settings?: { endedDaysAgo?: number; days?: number; newKey?: boolean }): Promise<Pair>
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
    signer: async (of, { endedDaysAgo, days, newKey } = {}) => {
      const [site = '', device = ''] = of.split('/')
      return pair(
        await makeSignerCertificate(folder, { site, device }, { ...validity(endedDaysAgo, days), newKey }),
      )
    },
  }
}

/** What a certificate may say that it is for (RFC 5280, 4.2.1.12). */
export const PURPOSE = {
  server: '1.3.6.1.5.5.7.3.1',
  client: '1.3.6.1.5.5.7.3.2',
  code: '1.3.6.1.5.5.7.3.3',
  any: '2.5.29.37.0',
} as const

/**
 * Certificates as somebody else's authority makes them: for 127.0.0.1, named `name`, for the purposes given, or
 * without a word about that.
 */
export async function openForeignAuthority() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const newKeys = () => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const validity = {
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    signingAlgorithm: algorithm,
  }
  const keys = await newKeys()
  const authority = await X509CertificateGenerator.createSelfSigned({
    ...validity,
    name: 'CN=Foreign',
    keys,
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  })
  return {
    ca: authority.toString('pem'),
    async make(
      name: string,
      purposes: readonly string[] | undefined,
    ): Promise<{ cert: string; key: string }> {
      const own = await newKeys()
      const certificate = await X509CertificateGenerator.create({
        ...validity,
        subject: `CN=${name}`,
        issuer: authority.subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        extensions: [
          new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
          ...(purposes ? [new ExtendedKeyUsageExtension([...purposes])] : []),
        ],
      })
      const key = KeyObject.from(own.privateKey).export({ type: 'pkcs8', format: 'pem' })
      return { cert: certificate.toString('pem'), key: key.toString() }
    },
  }
}
