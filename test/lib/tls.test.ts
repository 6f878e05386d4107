import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { connect, createServer, type Server, type TlsOptions } from 'node:tls'
import pino from 'pino'
import { Registry } from 'prom-client'
import t from 'tap'
import { certificateNameOf, createTlsServer } from '../../broker/tls.ts'
import { certsList } from '../../commands/certs/say.ts'
import { warnOfOpenPassword } from '../../lib/access/open-password.ts'
import { HttpServer } from '../../lib/http/server.ts'
import type { Log } from '../../lib/log.ts'
import { MqttLink } from '../../lib/mqtt/link.ts'
import { listCertificates, makeAuthority, renewCertificate } from '../../lib/tls/authority.ts'
import {
  followClientFiles,
  keepRenewed,
  readServerFiles,
  type ServerFiles,
} from '../../lib/tls/certificates.ts'
import { openAuthority, openForeignAuthority, type Pair, PURPOSE } from '../kit/certificates.ts'
import { freePort } from '../kit/ports.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

const [home, other] = [await openAuthority(t), await openAuthority(t)]
const broker = await home.server('broker')
const expired = await home.server('old', { endedDaysAgo: 2 })
const camera = await home.client('camera-1')
const pem = ({ certFile, keyFile }: Pair) => ({ cert: readFileSync(certFile), key: readFileSync(keyFile) })

function memoryLog(): { log: Log; lines: { level: number; msg: string; code?: string }[] } {
  const lines: { level: number; msg: string; code?: string }[] = []
  return { log: pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) }), lines }
}

async function tlsServer(
  t: Test,
  options: TlsOptions,
): Promise<{ server: Server; port: number; url: string }> {
  const server = createServer(options, (socket) => socket.on('error', () => {}).resume())
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  const { port } = server.address() as AddressInfo
  return { server, port, url: `mqtts://127.0.0.1:${port}` }
}

/** The serial number of the certificate that a server shows, once its client has found it good. */
function shownSerial(port: number, servername = 'localhost'): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername, ca: readFileSync(home.caFile) }, () => {
      resolve(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

/** Files of a certificate and its key, and what puts another pair into them. */
function replaceablePair(t: Test) {
  const folder = temporaryFolder(t)
  const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') }
  const put = (pair: Pair) => {
    copyFileSync(pair.certFile, files.certFile)
    copyFileSync(pair.keyFile, files.keyFile)
  }
  return { files, put }
}

const serialOf = (file: string) => new X509Certificate(readFileSync(file)).serialNumber

t.test('the authority, servers and clients have the extensions that strict readers want', async (t) => {
  const ca = new X509Certificate(readFileSync(home.caFile))
  t.equal(ca.ca, true)
  for (const [file, use] of [
    [broker.certFile, '1.3.6.1.5.5.7.3.1'],
    [camera.certFile, '1.3.6.1.5.5.7.3.2'],
  ] as const) {
    const certificate = new X509Certificate(readFileSync(file))
    t.ok(certificate.checkIssued(ca) && certificate.verify(ca.publicKey))
    t.equal(certificate.ca, false)
    t.strictSame(certificate.keyUsage, [use])
    t.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    t.ok(certificate.validFromDate.getTime() < Date.now() - 80_000_000, 'a clock a little behind accepts it')
    t.equal(certificate.serialNumber.length, 32)
  }
  t.equal(new X509Certificate(readFileSync(camera.certFile)).subject, 'CN=camera-1')
  for (const { keyFile } of [broker, camera]) t.equal(statSync(keyFile).mode & 0o777, 0o600)
  t.equal(statSync(home.folder).mode & 0o777, 0o700)
  t.equal(statSync(join(home.folder, 'ca.key')).mode & 0o777, 0o600)
})

t.test('openssl verifies them, strictly', { skip: hasOpenssl() ? false : 'no openssl here' }, async (t) => {
  const verify = (purpose: string, file: string) =>
    execFileSync('openssl', ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', home.caFile, file], {
      stdio: ['ignore', 'pipe', 'ignore'],
    }).toString()
  t.match(verify('sslserver', broker.certFile), /: OK/)
  t.match(verify('sslclient', camera.certFile), /: OK/)
  t.throws(() => verify('sslclient', broker.certFile), "a server's is none for a client")
  t.throws(() => verify('sslserver', expired.certFile))
})

function hasOpenssl(): boolean {
  try {
    return execFileSync('openssl', ['version']).length > 0
  } catch {
    return false
  }
}

t.test('an authority is not overwritten, nor outlived, and names are no paths', async (t) => {
  await t.rejects(makeAuthority(home.folder, 'Again', { days: 1 }), {
    code: 'FILE_EXISTS',
    message: /ca\.pem/,
  })
  await t.rejects(home.client('camera-1'), { code: 'FILE_EXISTS', message: /certs renew/ })
  await t.rejects(home.server('long', { days: 600 }), { code: 'CERTIFICATE_UNUSABLE', message: /outlive/ })
  for (const name of ['../x', 'a/b', '.x', 'ca', '', 'x'.repeat(65), 'a\u0000b'])
    await t.rejects(home.client(name), { code: 'USAGE' }, JSON.stringify(name))
  for (const host of ['a b', '', 'x/y', '[::1]', 'a..b'])
    await t.rejects(
      home.server('x', { hosts: [host] }),
      { code: 'USAGE', message: /Invalid host name/ },
      host,
    )
})

t.test('the list says for whom each is, and which to renew', async (t) => {
  const facts = listCertificates(home.folder)
  t.match(facts[0], { kind: 'authority', names: ['Test'] })
  t.match(
    facts.find(({ file }) => file === 'broker.pem'),
    { kind: 'server', names: ['broker', '127.0.0.1', 'localhost'] },
  )
  const text = certsList(home.folder)
  t.match(text, /^old\.pem +server +\d{4}-\d\d-\d\d +EXPIRED /m)
  t.match(text, /^camera-1\.pem +client +\S+ +renew: 29 /m)
  t.match(text, /^broker\.pem +server +\S+ +99 /m)
})

t.test('files that would not work are named, with what to do', async (t) => {
  const { log, lines } = memoryLog()
  const junk = join(temporaryFolder(t), 'junk.pem')
  writeFileSync(junk, 'no certificate')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const locked = join(temporaryFolder(t), 'locked.key')
  writeFileSync(
    locked,
    privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }),
  )
  const server = (files: Partial<ServerFiles>) => () =>
    readServerFiles({ ...broker, ...files }, 'listeners.0.tls')
  for (const [files, says] of [
    [{ certFile: '/nowhere.pem' }, /\/nowhere\.pem, named by listeners\.0\.tls\.certFile, cannot be read/],
    [{ certFile: junk }, /junk\.pem, named by listeners\.0\.tls\.certFile, contains no certificate/],
    [{ keyFile: junk }, /junk\.pem, named by listeners\.0\.tls\.keyFile, contains no private key/],
    [{ keyFile: locked }, /locked\.key.* passphrase/],
    [{ keyFile: camera.keyFile }, /camera-1\.key does not belong to the certificate .*broker\.pem/],
    [{ clientCaFile: junk }, /listeners\.0\.tls\.clientCaFile/],
    [expired, /old\.pem.* expired on .*Renew/],
  ] as const)
    t.throws(server(files), { code: 'CONFIG_INVALID', message: says }, says.source)
  for (const files of [{ certFile: camera.certFile }, { keyFile: camera.keyFile }])
    t.throws(() => followClientFiles(files, 'broker', log), {
      code: 'CONFIG_INVALID',
      message: /broker names .* both/,
    })
  t.strictSame(followClientFiles({}, 'broker', log)(), { ca: undefined })
  t.strictSame(lines, [])
  followClientFiles(await home.client('gone', { endedDaysAgo: 1 }), 'broker', log)
  t.match(
    lines,
    [{ level: 50, msg: /expired on/ }],
    'an expired one of a client is said, and does not stop it',
  )
})

t.test(
  'a listener takes up a renewed certificate, and keeps the old one where the new pair is broken',
  async (t) => {
    const { files, put } = replaceablePair(t)
    const soon = await home.server('soon', { days: 5 })
    put(soon)
    const read = readServerFiles(files, 'http.tls')
    const { server, port } = await tlsServer(t, read.context)
    const { log, lines } = memoryLog()
    keepRenewed(server, files, { where: 'http.tls', log, validUntilMs: read.validUntilMs, intervalMs: 20 })
    t.match(lines, [{ level: 40, msg: /expires on/ }])
    t.equal(await shownSerial(port), serialOf(soon.certFile))
    writeFileSync(files.keyFile, readFileSync(camera.keyFile))
    await until('it is said', () => lines.some(({ level }) => level === 50))
    t.match(lines.at(-1), {
      code: 'CONFIG_INVALID',
      msg: /does not belong.*The old certificate stays in use/,
    })
    t.equal(await shownSerial(port), serialOf(soon.certFile))
    put(soon)
    await renewCertificate(home.folder, 'soon', { days: 90 })
    put(soon)
    await until(
      'the renewed one is in use',
      async () => (await shownSerial(port)) === serialOf(soon.certFile),
    )
    const renewed = new X509Certificate(readFileSync(soon.certFile))
    t.match(renewed.subjectAltName, /DNS:localhost/)
    t.strictSame(renewed.keyUsage, ['1.3.6.1.5.5.7.3.1'])
  },
)

t.test(
  'a client shows a renewed certificate from its next connection on, and a broken pair never',
  async (t) => {
    const { files, put } = replaceablePair(t)
    const ending = await home.client('ending', { days: 5 })
    put(ending)
    const { log, lines } = memoryLog()
    const credentials = followClientFiles({ ...files, caFile: home.caFile }, 'broker', log)
    t.match(lines, [{ level: 40, msg: /expires on/ }])
    const asks = await tlsServer(t, {
      ...pem(broker),
      ca: readFileSync(home.caFile),
      requestCert: true,
      rejectUnauthorized: true,
    })
    const shown: string[] = []
    asks.server.on('secureConnection', (socket) => shown.push(socket.getPeerCertificate().serialNumber))
    const show = async () => {
      const before = shown.length
      const socket = connect({ host: '127.0.0.1', port: asks.port, ...credentials() }).on('error', () => {})
      await until('it is shown', () => shown.length > before)
      socket.destroy()
      return shown.at(-1)
    }
    const first = serialOf(ending.certFile)
    t.equal(await show(), first)
    copyFileSync(camera.keyFile, files.keyFile)
    t.equal(await show(), first)
    t.match(lines.at(-1), { level: 50, code: 'CONFIG_INVALID', msg: /The old certificate stays in use/ })
    await renewCertificate(home.folder, 'ending', { days: 90 })
    put(ending)
    t.equal(await show(), serialOf(ending.certFile))
    t.not(await show(), first)
    t.match(lines.at(-1), { level: 30, msg: 'loaded a renewed certificate' })
  },
)

t.test('a client says why there is no connection, and what to change', async (t) => {
  const open = (url: string, credentials: object = {}) =>
    MqttLink.open({
      url,
      clientId: 'it',
      protocol: 4,
      clean: true,
      packetBytesMax: 1000,
      keepaliveS: 0,
      connectMsMax: 3000,
      credentials: () => ({ ca: readFileSync(home.caFile, 'utf8'), ...credentials }),
    })
  const plain = await tlsServer(t, pem(broker))
  const old = await tlsServer(t, pem(expired))
  const elsewhere = await tlsServer(t, pem(await home.server('else', { hosts: ['broker.local'] })))
  const wrongUse = await tlsServer(t, pem(camera))
  const mutual = {
    ...pem(broker),
    ca: readFileSync(home.caFile),
    requestCert: true,
    rejectUnauthorized: true,
  }
  const asks = await tlsServer(t, mutual)
  const asks12 = await tlsServer(t, { ...mutual, maxVersion: 'TLSv1.2' })
  const noTls = createTcpServer((socket) =>
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n').on('error', () => {}),
  )
  const port = await freePort()
  await new Promise<void>((resolve) => noTls.listen(port, '127.0.0.1', resolve))
  t.after(() => void noTls.close())
  const foreign = pem(await other.client('camera-1'))
  const foreignPem = { cert: foreign.cert.toString(), key: foreign.key.toString() }
  await Promise.all(
    [
      {
        url: plain.url,
        credentials: { ca: undefined },
        code: 'BROKER_REFUSED',
        says: /unknown authority.*caFile/,
      },
      // Another authority of the same name.
      {
        url: plain.url,
        credentials: { ca: readFileSync(other.caFile, 'utf8') },
        code: 'BROKER_REFUSED',
        says: /authority/,
      },
      { url: old.url, code: 'BROKER_REFUSED', says: /presents an expired certificate/ },
      { url: elsewhere.url, code: 'BROKER_REFUSED', says: /for other names: broker\.local\./ },
      { url: wrongUse.url, code: 'BROKER_REFUSED', says: /not for servers/ },
      { url: asks.url, code: /BROKER_/, says: /client certificate/ },
      { url: asks12.url, code: /BROKER_/, says: /client certificate/ },
      {
        url: asks.url,
        credentials: foreignPem,
        code: 'BROKER_UNREACHABLE',
        says: /does not trust the one presented/,
      },
      { url: `mqtts://127.0.0.1:${port}`, code: 'BROKER_REFUSED', says: /does not use TLS on this port/ },
    ].map(({ url, credentials, code, says }) =>
      t.rejects(open(url, credentials), { code, message: says }, says.source),
    ),
  )
})

t.test('a certificate is good for what it says it is for, and for all where it says nothing', async (t) => {
  const foreign = await openForeignAuthority()
  const clientCaFile = join(temporaryFolder(t), 'foreign.pem')
  writeFileSync(clientCaFile, foreign.ca)
  const { log, lines } = memoryLog()
  const came: (string | undefined)[] = []
  const listener = createTlsServer({
    files: { ...broker, clientCaFile },
    where: 'listeners.0.tls',
    handshakeMsMax: 5000,
    log,
    refused: () => came.push('refused'),
    connect: (socket) => {
      came.push(certificateNameOf(socket))
      socket.on('error', () => {}).destroy()
    },
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.after(() => void listener.close())
  const { port } = listener.address() as AddressInfo
  for (const [name, purposes, client, server] of [
    ['nothing', undefined, true, true],
    ['client', [PURPOSE.client], true, false],
    ['server', [PURPOSE.server], false, true],
    ['both', [PURPOSE.client, PURPOSE.server], true, true],
    ['code', [PURPOSE.code], false, false],
    // Refusing it is allowed (RFC 5280, 4.2.1.12), and what OpenSSL does.
    ['any', [PURPOSE.any], false, false],
    ['any-and-server', [PURPOSE.any, PURPOSE.server], false, true],
  ] as const) {
    const pair = await foreign.make(name, purposes)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const before = came.length
      const socket = connect({ host: '127.0.0.1', port, ca: readFileSync(home.caFile), maxVersion, ...pair })
      socket.on('error', () => {})
      await until('it is judged', () => came.length > before)
      socket.destroy()
      t.equal(came.at(-1), client ? name : 'refused', `a client that shows one for ${name}, ${maxVersion}`)
      const { url } = await tlsServer(t, { ...pair, maxVersion })
      const fault: Error = await MqttLink.open({
        url,
        clientId: 'it',
        protocol: 4,
        clean: true,
        packetBytesMax: 1000,
        keepaliveS: 0,
        connectMsMax: 300, // it does not answer
        credentials: () => ({ ca: foreign.ca }),
      }).then(
        () => new Error('it has no broker'),
        (error) => error,
      )
      const says = /presents a certificate that is not for servers/
      if (server) t.notMatch(fault.message, says, `a broker that shows one for ${name}, ${maxVersion}`)
      else t.match(fault.message, says, `a broker that shows one for ${name}, ${maxVersion}`)
    }
  }
  t.match(lines, [{ level: 40, code: 'TLS', msg: /the client certificate is not for clients/ }])
})

t.test('a password that crosses the network unencrypted is warned of, and not repeated', async (t) => {
  const { log, lines } = memoryLog()
  for (const url of ['mqtts://far', 'mqtt://127.0.0.1', 'mqtt://localhost:1', 'mqtt://[::1]', 'wss://far'])
    warnOfOpenPassword(log, { url, password: 'hunter2' })
  warnOfOpenPassword(log, { url: 'mqtt://far', password: undefined })
  t.strictSame(lines, [])
  warnOfOpenPassword(log, { url: 'mqtt://me@far:1883', password: 'hunter2' })
  t.match(lines, [{ level: 40, msg: /unencrypted: use mqtts/ }])
  t.notMatch(JSON.stringify(lines), /hunter2|me@/)
})

t.test('HTTP', async (t) => {
  const STRICT = {
    'content-security-policy': /^default-src 'none'/,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  }
  const options = {
    host: '127.0.0.1',
    port: 0,
    get metrics() {
      return new Registry()
    },
    health: () => ({ ok: true, checks: {} }),
    routes: (app: { get(path: string, handler: () => Promise<never>): unknown }) => {
      app.get('/fails', async () => {
        throw new Error('the secret is /srv/secret')
      })
    },
  }

  await t.test('over TLS, with HSTS', async (t) => {
    await using http = await HttpServer.open({ ...options, tls: broker })
    t.match(http.url, /^https:/)
    const { status, headers } = await new Promise<{ status?: number; headers: object }>((resolve, reject) => {
      const { port } = new URL(http.url)
      request({ host: '127.0.0.1', port, path: '/healthz', ca: readFileSync(home.caFile) }, (answer) => {
        answer.resume()
        resolve({ status: answer.statusCode, headers: answer.headers })
      })
        .once('error', reject)
        .end()
    })
    t.equal(status, 200)
    t.match(headers, { ...STRICT, 'strict-transport-security': /max-age=/ })
    await t.rejects(HttpServer.open({ ...options, tls: expired }), {
      code: 'CONFIG_INVALID',
      message: /http\.tls/,
    })
  })

  await t.test('every answer carries the strict headers, and none says what went wrong inside', async (t) => {
    const { log, lines } = memoryLog()
    await using http = await HttpServer.open({ ...options, log })
    for (const [path, status] of [
      ['/healthz', 200],
      ['/metrics', 200],
      ['/fails', 500],
      ['/<script>', 404],
      ['/%zz', 404],
    ] as const) {
      const answer = await fetch(http.url + path)
      t.equal(answer.status, status, path)
      t.match(Object.fromEntries(answer.headers), STRICT)
      t.notOk(answer.headers.has('strict-transport-security'))
      t.notMatch(await answer.text(), /secret|script|\.ts|zz/)
    }
    t.match(lines, [{ level: 50, error: /secret/ }], 'the log does')
    const answer = await new Promise<string>((resolve) => {
      let text = ''
      connectTcp(Number(new URL(http.url).port), '127.0.0.1')
        .on('data', (data) => {
          text += data.toString()
        })
        .on('close', () => resolve(text))
        .end('no HTTP at all\r\n\r\n')
    })
    t.match(answer, /^HTTP\/1\.1 400 .*nosniff/s)
  })
})
