import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ConsoleConfig } from '../../console/config.ts'
import { DesiredSigner } from '../../console/desired/signing.ts'
import { checked, OTHERS, secrecy, validity } from './files.ts'
import type { Finding } from './finding.ts'

/** What belongs to a console alone: its key for what devices shall be. */
export function checkDesiredSigning({ desired }: ConsoleConfig): Finding[] {
  const { signing, enabled } = desired
  if (!enabled || !signing) return []
  const what = `signing ${signing.certFile}`
  const pair = checked(what, () => {
    DesiredSigner.open(signing)
    const certificate = new X509Certificate(readFileSync(signing.certFile))
    return validity(what, certificate, 'desired.signing', Date.now())
  })
  return [pair, ...secrecy(signing.keyFile, OTHERS)]
}
