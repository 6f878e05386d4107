import { existsSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { changeStream, newStreamKey } from '../device/listen/change.ts'
import { hashOfKey, readStreams } from '../device/listen/streams-file.ts'
import { failure } from '../lib/errors.ts'
import { makeAuthority, makeServerCertificate } from '../lib/tls/authority.ts'

/** A camera that whoever runs the demo brings along: OBS, a phone, a browser. One stream, with a key of this run. */

const STREAM = 'guest'
/** Whoever comes again takes over; and what comes is kept. */
const SETTINGS = { takeOver: true, record: { mode: 'always', audio: true } }
/** A certificate may not outlive its authority. */
const CERTIFICATE_DAYS = 30
const AUTHORITY_DAYS = CERTIFICATE_DAYS + 1

export interface GuestOptions {
  /** The folder of this run. */
  readonly data: string
  readonly rtmpPort: number
  readonly whipPort: number
  /** Other machines of the network may come too: a phone. */
  readonly lan: boolean
}

export interface Guest {
  /** What OBS calls "Server" and "Stream Key". */
  readonly server: string
  readonly key: string
  /** Opens the page that publishes a browser's camera, with the key in it. */
  readonly page: string
  /** Where that page's WHIP endpoint is. */
  readonly whip: string
  /** Of the agent. */
  readonly env: Readonly<Record<string, string>>
}

/** Errors: NETWORK_NOT_FOUND, and those of the streams file and of certificates. */
export async function openGuest({ data, rtmpPort, whipPort, lan }: GuestOptions): Promise<Guest> {
  const file = join(data, 'streams.yaml')
  const key = newStreamKey()
  const keyHash = hashOfKey(key)
  if (existsSync(file))
    await changeStream(
      { file },
      STREAM,
      hasStream(file) ? { do: 'rotate', keyHash } : { do: 'add', keyHash, takeOver: true },
    )
  else writeFileSync(file, stringify({ streams: [{ name: STREAM, keyHash, ...SETTINGS }] }), { mode: 0o600 })
  const host = lan ? ownAddress() : '127.0.0.1'
  // A browser gives its camera to pages over TLS only, but for those of its own machine.
  const tls = lan ? await certificate(data, host) : undefined
  const page = `${tls ? 'https' : 'http'}://${host}:${whipPort}/`
  return {
    server: `rtmp://${host}:${rtmpPort}/live`,
    key,
    page: `${page}#key=${key}`,
    whip: `${page}whip`,
    env: {
      SIGHTLINE_LISTEN: JSON.stringify({
        streamsFile: file,
        rtmp: { port: rtmpPort, ...(lan && { host: '0.0.0.0', plaintext: true }) },
        whip: {
          port: whipPort,
          ...(tls && { host: '0.0.0.0', tls: { certFile: tls.cert, keyFile: tls.key } }),
        },
      }),
    },
  }
}

/** Errors: those of the streams file. */
const hasStream = (file: string) => readStreams(file).some(({ name }) => name === STREAM)

/** An authority of this run, and a certificate of it for this machine's address. */
async function certificate(data: string, host: string): Promise<{ cert: string; key: string }> {
  const folder = join(data, `certificates-${Date.now()}`)
  await makeAuthority(folder, 'Sightline demo', { days: AUTHORITY_DAYS })
  return makeServerCertificate(folder, 'demo', [host], { days: CERTIFICATE_DAYS })
}

/** This machine's address in its network. */
function ownAddress(): string {
  const found = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)
  if (found) return found.address
  throw failure(
    'SOURCE_UNAVAILABLE',
    'This machine has no address in a network, so no phone can reach it. Connect it, or leave --lan out.',
  )
}
