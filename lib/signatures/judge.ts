import { verify } from 'node:crypto'
import type { ClipMetadata } from '../../wire/clip.ts'
import { CLIP, CROP, type KeptMetadata, type KindName } from '../../wire/kinds.ts'
import { parseObjectKey } from '../../wire/object-key.ts'
import { type Signature, signedMessage, takeApart } from '../../wire/signature.ts'
import { digestsOf } from './digests.ts'
import type { Signer } from './signer.ts'
import type { Signers } from './signers.ts'

/** What one file's signature says. Pure: bytes in, a judgement out; never throws, whatever the bytes. */

export type Verdict =
  /** By a device's key that was valid at its capture, and not a bit of it has changed since. */
  | 'signed'
  /** Says of itself that nobody signed it. */
  | 'unsigned'
  /** Not as it was signed, or its signature was taken away. */
  | 'changed'
  /** By a key that no trusted certificate is for: nothing can be said. */
  | 'unknown key'
  /** By a known key, at a time for which none of its certificates is valid. */
  | 'not valid then'
  /** Signed by another device than it says it is from. */
  | 'another device'
  /** Whole and signed, but under the name of another file. */
  | 'elsewhere'
  /** Neither a crop nor a clip. */
  | 'unreadable'

/** What it says of itself; only to be believed where it is `signed`. */
export interface Claims extends KeptMetadata {
  readonly signer?: string
  readonly previous?: string
  /** Of clips. */
  readonly endMs?: number
  readonly run?: string
  readonly sequence?: number
  readonly gap?: ClipMetadata['gap']
}

export interface Judged {
  /** The name or key that it was given with. */
  readonly at: string
  readonly verdict: Verdict
  /** The verdict in a sentence, for people. May hold names from the file: not for a terminal as it is. */
  readonly sentence: string
  readonly kind: KindName
  readonly bytes: number
  /** SHA-256 of the whole file, hex: what the next one calls `previous`. */
  readonly digest: string
  /** Whose key signed it, where that is known. */
  readonly signer?: Signer
  /** Absent where it cannot be read. */
  readonly claims?: Claims
}

/**
 * @param payload the file
 * @param at its path or object key; where that ends with an id, as objects' keys do, it must be the file's own
 */
export function judge(payload: Uint8Array, at: string, signers: Signers): Judged {
  const isJpeg = payload[0] === 0xff && payload[1] === 0xd8
  const kind = isJpeg ? CROP : CLIP
  const reading = kind.read(payload)
  const claims: Claims | undefined = 'metadata' in reading ? reading.metadata : undefined
  const { content, signature } = takeApart(payload)
  const digests = digestsOf(payload, content)
  const found = verdictOf(at, signers, claims, digests.content, signature)
  const why = 'fault' in reading ? `${reading.fault}, ${reading.detail}` : ''
  return {
    at,
    kind: kind.name,
    bytes: payload.length,
    digest: digests.whole.toString('hex'),
    ...found,
    sentence: found.verdict === 'unreadable' ? `Cannot be read: ${why}.` : found.sentence,
    ...(claims && { claims }),
  }
}

type Found = Pick<Judged, 'verdict' | 'sentence' | 'signer'>

function verdictOf(
  at: string,
  signers: Signers,
  claims: Claims | undefined,
  digest: Buffer,
  signature: Signature | undefined,
): Found {
  if (!signature) {
    if (!claims) return { verdict: 'unreadable', sentence: '' }
    return claims.signer === undefined
      ? { verdict: 'unsigned', sentence: 'Not signed.' }
      : { verdict: 'changed', sentence: 'Its signature was removed or cannot be read.' }
  }
  const certificates = signers.of(signature.key)
  const [certificate] = certificates
  if (!certificate) {
    const foreign = signers.foreign(signature.key)
    return {
      verdict: 'unknown key',
      sentence: foreign
        ? `Signed by a key whose certificate, for ${nameOf(foreign)}, was signed by another authority.`
        : `Signed by an unknown key, ${signature.key.slice(0, 16)}: there is no certificate for it.`,
    }
  }
  const isWhole = verify(
    null,
    signedMessage(digest),
    certificate.publicKey,
    Buffer.from(signature.signature, 'base64'),
  )
  const { signer } = certificate
  const changed = (sentence: string): Found => ({ verdict: 'changed', sentence, signer })
  if (!isWhole) return changed(`Changed since ${nameOf(signer)} signed it.`)
  // Signed all the same: the key is the device's, but what it signed is none of ours.
  if (!claims) return { verdict: 'unreadable', sentence: '', signer }
  if (claims.signer !== signature.key) return changed('Its metadata names another key than its signature.')
  return ofSigned(at, claims, certificates)
}

function ofSigned(at: string, claims: Claims, certificates: ReturnType<Signers['of']>): Found {
  const { site, device, capturedAtMs, clockSane } = claims
  const own = certificates.filter(({ signer }) => signer.site === site && signer.device === device)
  const [first] = own
  if (!first) {
    const { signer } = certificates[0] as (typeof certificates)[number]
    return {
      verdict: 'another device',
      sentence: `Says that it is from ${site}/${device}, but ${nameOf(signer)} signed it.`,
      signer,
    }
  }
  const { signer } = first
  // Where the device knew that its clock was wrong, it is the key alone that counts.
  const isValid = own.some(({ fromMs, untilMs }) => capturedAtMs >= fromMs && capturedAtMs <= untilMs)
  if (clockSane && !isValid) {
    const spans = own.map(({ fromMs, untilMs }) => `${iso(fromMs)} to ${iso(untilMs)}`)
    return {
      verdict: 'not valid then',
      sentence: `Captured at ${iso(capturedAtMs)}; the certificate of ${nameOf(signer)} is valid from ${spans.join(', and from ')}.`,
      signer,
    }
  }
  if (!isAtItsPlace(at, claims))
    return {
      verdict: 'elsewhere',
      sentence: `Signed by ${nameOf(signer)}, but under the name of another: it is ${claims.id} of ${site}/${device}/${claims.camera}.`,
      signer,
    }
  const unset = clockSane ? '' : ', whose clock was not set'
  return { verdict: 'signed', sentence: `Signed by ${nameOf(signer)}${unset}.`, signer }
}

const NAMED = /(?:^|[/\\])([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\.(?:jpg|mp4)$/
/** `site/device/camera/2026/11/28/10/<id>.jpg`, and what may stand before it. */
const KEY_PARTS = 8

function isAtItsPlace(at: string, { id, site, device, camera }: Claims): boolean {
  const named = NAMED.exec(at)?.[1]
  if (named === undefined) return true
  if (named !== id) return false
  const parts = at.split(/[/\\]/)
  for (const count of [KEY_PARTS + 1, KEY_PARTS]) {
    const said = parseObjectKey(parts.slice(-count).join('/'))
    if (said) return said.site === site && said.device === device && said.camera === camera
  }
  return true
}

const nameOf = ({ site, device }: Signer) => `${site}/${device}`
const iso = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
