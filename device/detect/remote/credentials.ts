import { statSync } from 'node:fs'
import { readNamedFile } from '../../../lib/config.ts'
import { failure } from '../../../lib/errors.ts'
import { isLoopback } from '../../../lib/http/server.ts'
import type { Log } from '../../../lib/log.ts'
import { type ClientCredentials, followClientFiles } from '../../../lib/tls/certificates.ts'
import type { InferenceServers } from '../../config.ts'
import { TOKEN_LOOK_MS } from '../../limits.ts'

export interface Credentials {
  /** Of the file, as it is now. */
  readonly token: () => string | undefined
  readonly credentials: () => ClientCredentials
}

/**
 * By what this device shows itself to inference servers, and by what it knows them.
 * Errors: CONFIG_INVALID, also where a token would cross a network unencrypted.
 */
export function openCredentials(servers: InferenceServers, log: Log): Credentials {
  refuseOpenToken(servers)
  return {
    token: followToken(servers),
    credentials: followClientFiles(servers, 'detect.servers', log),
  }
}

/** Whoever reads the token may ask the servers; and frames are pictures of people. */
function refuseOpenToken({ addresses, token, tokenFile, plaintext }: InferenceServers): void {
  if (plaintext) return
  for (const address of addresses) {
    const { protocol, host, hostname, username } = new URL(address)
    if (protocol === 'https:' || protocol === 'grpcs:' || isLoopback(hostname.replace(/^\[|\]$/g, '')))
      continue
    if (token === undefined && tokenFile === undefined && username === '') continue
    throw failure(
      'CONFIG_INVALID',
      `"detect.servers" has a token or password, which would cross the network to ${protocol}//${host} unencrypted. Use https or grpcs, or set "detect.servers.plaintext: true" if you accept that.`,
    )
  }
}

/** Read now, and again once its file has changed; one that cannot be read any more stays as it was. */
function followToken({ token, tokenFile }: InferenceServers): () => string | undefined {
  if (tokenFile === undefined) return () => token
  const read = () => {
    const text = readNamedFile(tokenFile, 'detect.servers.tokenFile').toString('utf8').trim()
    if (/^[\x21-\x7e]+$/.test(text)) return text
    throw failure(
      'CONFIG_INVALID',
      `The file ${tokenFile}, named by detect.servers.tokenFile, must have one line: the token.`,
    )
  }
  const changedMs = () => statSync(tokenFile, { throwIfNoEntry: false })?.mtimeMs
  let [latest, seenMs, lookedMs] = [read(), changedMs(), performance.now()]
  return () => {
    if (performance.now() - lookedMs < TOKEN_LOOK_MS) return latest
    lookedMs = performance.now()
    const nowMs = changedMs()
    if (nowMs === seenMs) return latest
    seenMs = nowMs
    try {
      latest = read()
    } catch {} // it is being written, most likely
    return latest
  }
}
