import { join } from 'node:path'
import { failure } from '../../lib/errors.ts'
import type { Signer } from '../../lib/signatures/signer.ts'
import { inOneLine, table } from '../../lib/table.ts'
import {
  type CertificateFacts,
  day,
  listCertificates,
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
  makeSignerCertificate,
  renewCertificate,
} from '../../lib/tls/authority.ts'
import { isName, NAME_RULE } from '../../wire/names.ts'

/** `sightline certs`: what it says, and which keys of a configuration come next. */

const DAY_MS = 86_400_000
const WARN_DAYS = 30

export interface Wanted {
  readonly verb: 'ca' | 'server' | 'client' | 'signer' | 'renew'
  readonly folder: string
  readonly name: string
  readonly hosts: readonly string[]
  readonly days: number
  readonly newKey: boolean
}

/** Makes what is wanted. @returns what was written, and the next step. Errors: those of authority.ts */
export async function certsMake({ verb, folder, name, hosts, days, newKey }: Wanted): Promise<string> {
  const validity = { days }
  const authority = join(folder, 'ca.pem')
  switch (verb) {
    case 'ca': {
      const { cert, key } = await makeAuthority(folder, name, validity)
      return `${cert}   the authority's certificate: copy it to every program
${key}   its key: anyone who has it can impersonate anyone; keep it here

Next: sightline certs server ${folder} broker --host NAME-OR-ADDRESS
      sightline certs client ${folder} camera-1
`
    }
    case 'server': {
      const { cert, key } = await makeServerCertificate(folder, name, hosts, validity)
      return `${cert}   for ${hosts.join(', ')}
${key}   readable by the program's user alone

Next, in the configuration of the broker that has these files:
  listeners:
    - host: 0.0.0.0
      port: 8883
      tls:
        certFile: ${cert}
        keyFile: ${key}
        clientCaFile: ${authority}   # clients then need a certificate
and under "users" a name for each client. An HTTP listener takes certFile and
keyFile under "http.tls".
`
    }
    case 'client': {
      const { cert, key } = await makeClientCertificate(folder, name, validity)
      return `${cert}   user name at the broker: ${name}
${key}   readable by the program's user alone

Next, in the configuration of the client (under "broker", or at the bridge in
"bridges"):
  url: mqtts://BROKER:8883
  caFile: ${authority}
  certFile: ${cert}
  keyFile: ${key}
and in the broker's, under "users": the name ${name} and its topics.
`
    }
    case 'signer': {
      const signer = signerNamed(name)
      const { cert, key } = await makeSignerCertificate(folder, signer, { ...validity, newKey })
      return `${cert}   for the device ${signer.site}/${signer.device}; valid until ${day(Date.now() + days * DAY_MS)}
${key}   readable by the program's user alone
${newKey ? '\nThe old certificate, if there was one, stays in the folder: what was signed\nbefore verifies by it. Delete it where its key was stolen.\n' : ''}
Next, in the configuration of that device:
  signing:
    certFile: ${cert}
    keyFile: ${key}
To check what it has signed: sightline verify --certs ${folder} FILE...
Or, where a console signs with it what devices shall be, in that one's:
  desired:
    signing: { certFile: ${cert}, keyFile: ${key} }
`
    }
    case 'renew': {
      const file = await renewCertificate(folder, name, validity)
      if (name.startsWith('signer.'))
        return `${file}   valid until ${day(Date.now() + days * DAY_MS)}, for the same key
The old one stays beside it: what was captured until now verifies by that.

Next: copy it to the device, where it is read at the next start, and to the
certificates of those who verify.
`
      return `${file}   valid until ${day(Date.now() + days * DAY_MS)}, for the same key

Next: copy it over the old one. A listener loads it within a minute, a client
at its next start.
`
    }
  }
}

function signerNamed(text: string): Signer {
  const [site, device, ...rest] = text.split('/')
  if (!isName(site) || !isName(device) || rest.length > 0)
    throw failure(
      'USAGE',
      `Invalid device "${text}". Write SITE/DEVICE as in its configuration; each has ${NAME_RULE}.`,
    )
  return { site, device }
}

/** @returns a table of the folder's certificates. Errors: CERTIFICATE_NOT_FOUND */
export function certsList(folder: string, nowMs = Date.now()): string {
  const facts = listCertificates(folder)
  if (facts.length === 0)
    return `${folder} contains no certificates yet. Start with: sightline certs ca ${folder}\n`
  return table([
    ['file', 'kind', 'valid until', 'days left', 'names'],
    ...facts.map((it) => [
      inOneLine(it.file),
      it.kind,
      day(it.validUntilMs),
      daysLeft(it, nowMs),
      inOneLine(it.names.join(', ')),
    ]),
  ])
}

function daysLeft({ validUntilMs }: CertificateFacts, nowMs: number): string {
  const days = Math.floor((validUntilMs - nowMs) / DAY_MS)
  if (validUntilMs <= nowMs) return 'EXPIRED'
  return days < WARN_DAYS ? `renew: ${days}` : String(days)
}
