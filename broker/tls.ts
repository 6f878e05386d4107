import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer, type SecureContextOptions, type Server, TLSSocket } from 'node:tls'
import { tcpOf } from '../lib/admission.ts'
import { type Log, throttled } from '../lib/log.ts'
import {
  keepRenewed,
  readServerFiles,
  type ServerFiles,
  TLS_HANDSHAKE_MS_MAX,
} from '../lib/tls/certificates.ts'
import { tlsCode } from '../lib/tls/faults.ts'

export interface TlsServerOptions {
  readonly files: ServerFiles
  /** The key that names the files, such as `listeners.0.tls`. */
  readonly where: string
  /** From the connection on, TLS_HANDSHAKE_MS_MAX at most. */
  readonly handshakeMsMax: number
  readonly log: Log
  /** A connection that did not become one. */
  readonly refused: () => void
  readonly connect: (socket: TLSSocket) => void
}

const CONTEXT: SecureContextOptions = {
  // No resumption: each connection shows its certificate, and one that is no longer good opens nothing.
  // No renegotiation, which costs a server more than a client.
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
}

/**
 * A server for MQTT over TLS. With `clientCaFile` only clients come through that show a certificate of that authority
 * with a name. Errors: CONFIG_INVALID
 */
export function createTlsServer(options: TlsServerOptions): Server {
  const { files, where, log, refused, connect } = options
  const handshakeMsMax = Math.min(options.handshakeMsMax, TLS_HANDSHAKE_MS_MAX)
  const { context, validUntilMs } = readServerFiles(files, where)
  const mutual = files.clientCaFile !== undefined
  const warn = throttled<{ why: string; from: string | undefined }>((count, { why, from }) =>
    log.warn({ code: 'TLS', count, from }, `refused a connection over TLS: ${why}`),
  )
  const refuse = (why: string, from: string | undefined) => {
    refused()
    warn({ why, from })
  }
  const server = createServer(
    {
      ...CONTEXT,
      ...context,
      requestCert: mutual,
      rejectUnauthorized: mutual,
      handshakeTimeout: handshakeMsMax,
      noDelay: true,
    },
    (socket) => {
      if (!mutual || certificateNameOf(socket) !== undefined) return connect(socket)
      refuse('the client certificate has no name (CN), or several', socket.remoteAddress)
      socket.destroy()
    },
  )
  const addresses = new WeakMap<Socket, string | undefined>()
  server.on('connection', (socket) => addresses.set(socket, socket.remoteAddress))
  server.on('tlsClientError', (error, socket) => {
    const why =
      tlsCode(error) === 'ERR_TLS_HANDSHAKE_TIMEOUT'
        ? `the client did not finish the handshake within ${handshakeMsMax / 1000} s`
        : reasonOf(error, socket)
    refuse(why, socket.remoteAddress ?? addresses.get(tcpOf(socket)))
    socket.destroy() // Node.js itself leaves one that was too slow open
  })
  server.once('listening', () => keepRenewed(server, files, { where, log, validUntilMs, context: CONTEXT }))
  return server
}

/** The name (CN) in the certificate that a client showed and that was found good; undefined where it showed none. */
export function certificateNameOf(socket: Duplex): string | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  const name: unknown = socket.getPeerCertificate().subject?.CN
  return typeof name === 'string' && name !== '' ? name : undefined // a list where there are several
}

/**
 * Gives what a TLS connection reads to `receive`, and reads on after a false only when told to `resume`, as
 * `readingInto` does for plain ones: that `onread` of sockets is not for those that a TLS server makes, and each of
 * their reads has a buffer of its own in any case. `push` is where a socket hands over what it has read, and stops
 * reading when it returns false. What one read of the network brought comes whole, also after a false: 64 KB.
 */
export function readingTls(socket: TLSSocket, receive: (bytes: Buffer) => boolean): Socket {
  const push = socket.push.bind(socket)
  socket.push = (bytes: Buffer | null) => (bytes === null ? push(null) : socket.destroyed || receive(bytes))
  socket.resume = () => {
    socket._read(0)
    setImmediate(() => socket.read(0)) // an end that came meanwhile is told of now
    return socket
  }
  return socket
}

function reasonOf(error: Error, socket: TLSSocket): string {
  switch (String(socket.authorizationError ?? tlsCode(error))) {
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE':
      return 'the client presented no certificate, and this listener requires one ("clientCaFile"). Give the client "certFile" and "keyFile"'
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_SIGNATURE_FAILURE':
      return 'the client certificate is not signed by the authority in "clientCaFile"'
    case 'CERT_HAS_EXPIRED':
      return 'the client certificate has expired. Renew it'
    case 'CERT_NOT_YET_VALID':
      return "the client certificate is not valid yet. Check this machine's clock"
    case 'INVALID_PURPOSE':
      return 'the client certificate is not for clients. Make it with "sightline certs client"'
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_HTTP_REQUEST':
    case 'ERR_SSL_UNEXPECTED_MESSAGE':
      return 'not a TLS connection. MQTT clients need mqtts:// in the address here'
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
    case 'ERR_SSL_NO_SHARED_CIPHER':
      return 'the client has no TLS version (1.2 or later) or no cipher in common with this broker'
    case 'ALERT_UNKNOWN_CA':
    case 'ALERT_BAD_CERTIFICATE':
    case 'ALERT_CERTIFICATE_UNKNOWN':
    case 'ALERT_CERTIFICATE_EXPIRED':
      return 'the client does not trust the certificate of this broker. Give it the authority that signed it, as "caFile"'
    case 'ECONNRESET':
      return 'the client disconnected during the handshake'
    default:
      return error.message
  }
}
