import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeCrop } from '../test/kit/crops.ts'
import { Mutator } from '../test/kit/mutate.ts'
import { brokerConfig, Program, subscriberConfig, type Test, temporaryFolder } from '../test/kit/programs.ts'
import { objectKey } from '../wire/object-key.ts'
import { processState, settledState, unforeseen } from './process-state.ts'
import type { Trial } from './trial.ts'
import { percentile } from './well-behaved.ts'

/** The gallery's door: requests written as bytes, past every client that would tidy them. */

const FULL_INPUTS = 10_000
const SHORT_INPUTS = 1000
const AT_ONCE = 12
const FAULTS_MAX = 10
/** A request that is never finished is left after this. */
const PATIENCE_MS = 1500
/** Requests that stay unfinished the whole time. */
const ABANDONED_MAX = 100
const VISIT_EVERY_MS = 50
/** A visit meanwhile, at least; and as a multiple of what it is in peace (the machine may be busy). */
const VISIT_P99_MS_MAX = 1000
const VISIT_GROWTH_MAX = 20
const VISITS_IN_PEACE = 20
const MEMORY_GROWTH_MB_MAX = 60
const HANDLES_GROWTH_MAX = 3
const POLICY = /^content-security-policy: default-src 'none'/im

export const HOSTILE_HTTP: Trial = {
  name: 'hostile-http',
  what: 'hostile requests to a subscriber that serves the gallery',
  async run({ short, random }) {
    await using stack = new AsyncDisposableStack()
    const own: Test = { after: (handler) => void stack.defer(handler) }
    const broker = await Program.start(own, 'broker', brokerConfig(own))
    const secret = `SECRET-${Math.floor(random() * 1e12)}`
    const path = join(temporaryFolder(own), 'bucket')
    const key = putInto(path, secret)
    const subscriber = await Program.start(
      own,
      'subscriber',
      subscriberConfig(own, broker.url, { bucket: { type: 'folder', path }, gallery: { enabled: true } }),
    )
    const { pid, http } = subscriber
    const port = Number(new URL(http).port)
    const peace: number[] = []
    for (let n = 0; n < VISITS_IN_PEACE; n += 1) {
      const began = performance.now()
      await visit(http, key)
      peace.push(performance.now() - began)
    }
    const peaceMs = percentile(peace.slice(1), 0.99)
    const before = processState(pid)
    const inputsMax = short ? SHORT_INPUTS : FULL_INPUTS
    const base = Math.floor(random() * 2 ** 31)
    const faults: string[] = []
    const statuses = new Map<string, number>()
    const abandoned: AbortController[] = []
    let inputs = 0
    let memoryEarlyMb = 0
    const start = performance.now()
    const attacker = async () => {
      while (inputs < inputsMax && faults.length < FAULTS_MAX) {
        const seed = base + inputs
        inputs += 1
        if (inputs > inputsMax / 10 && memoryEarlyMb === 0) memoryEarlyMb = processState(pid).memoryMb
        const m = new Mutator(seed)
        const request = hostileRequest(m, key)
        const leave = new AbortController()
        if (m.chance(0.02)) {
          abandoned.push(leave)
          if (abandoned.length > ABANDONED_MAX) abandoned.shift()?.abort()
          void exchange(port, request.subarray(0, m.pick(request.length)), leave.signal)
          continue
        }
        const answer = await exchange(port, request, leave.signal)
        const wrong = judgeAnswer(answer, secret, statuses)
        if (wrong !== undefined)
          faults.push(
            `input ${seed - base} (seed ${seed}): ${wrong}; ${request.length <= 400 ? request.toString('hex') : `${request.length} bytes`}`,
          )
      }
    }
    const visits: number[] = []
    let over = false
    const visitor = async () => {
      while (!over) {
        const began = performance.now()
        await visit(http, key).catch((error: Error) =>
          faults.push(`a visitor was not served: ${error.message}`),
        )
        visits.push(performance.now() - began)
        await sleep(VISIT_EVERY_MS)
      }
    }
    const visiting = visitor()
    await Promise.all(Array.from({ length: AT_ONCE }, attacker))
    const seconds = (performance.now() - start) / 1000
    over = true
    await visiting
    for (const leave of abandoned) leave.abort()
    const after = await settledState(pid)
    if (subscriber.pid !== pid) faults.push('the subscriber was started again')
    const p99 = percentile(visits, 0.99)
    if (!(p99 <= Math.max(VISIT_P99_MS_MAX, VISIT_GROWTH_MAX * peaceMs)))
      faults.push(`visitors waited up to ${p99.toFixed(0)} ms (p99), and ${peaceMs.toFixed(0)} ms in peace`)
    if (after.memoryMb - memoryEarlyMb > MEMORY_GROWTH_MB_MAX)
      faults.push(`memory grew from ${memoryEarlyMb.toFixed(0)} to ${after.memoryMb.toFixed(0)} MB`)
    if (after.handles > before.handles + HANDLES_GROWTH_MAX)
      faults.push(`${before.handles} open handles before, ${after.handles} after`)
    faults.push(...unforeseen(subscriber))
    return {
      faults,
      said:
        `${inputs} requests in ${seconds.toFixed(0)} s, ${JSON.stringify(Object.fromEntries([...statuses].sort()))}, ` +
        `memory ${memoryEarlyMb.toFixed(0)} then ${after.memoryMb.toFixed(0)} MB, handles ${before.handles} then ${after.handles}, ` +
        `${visits.length} visits meanwhile, p50 ${percentile(visits, 0.5).toFixed(0)} p99 ${p99.toFixed(0)} ms (${peaceMs.toFixed(0)} in peace)`,
    }
  },
}

/** A crop in the bucket, and secrets beside it, inside it, and hidden in it. @returns the crop's key */
function putInto(bucket: string, secret: string): string {
  const { metadata, payload } = makeCrop()
  const key = objectKey(metadata, metadata.capturedAtMs)
  for (const [file, content] of [
    [key, payload],
    ['../secret.jpg', secret],
    ['../secret.json', secret],
    ['notes.txt', secret],
    ['private.json', secret],
    ['.hidden/secret.jpg', secret],
    ['home/.secret.jpg', secret],
    ['gallery/index/secret.html', secret],
    ['gallery/secret.js', secret],
  ] as const) {
    mkdirSync(join(bucket, file, '..'), { recursive: true })
    writeFileSync(join(bucket, file), content)
  }
  return key
}

async function visit(http: string, key: string): Promise<void> {
  for (const [path, kind] of [
    ['/gallery/', 'text/html'],
    [`/${key}`, 'image/jpeg'],
  ] as const) {
    const answer = await fetch(http + path, { signal: AbortSignal.timeout(10_000) })
    await answer.bytes()
    if (answer.status !== 200 || !answer.headers.get('content-type')?.startsWith(kind))
      throw new Error(`${path}: ${answer.status} ${answer.headers.get('content-type')}`)
  }
}

/** What comes back, as text, until the far end closes, or patience ends. */
function exchange(port: number, request: Buffer, leave: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    let answer = ''
    const finish = () => {
      clearTimeout(timer)
      leave.removeEventListener('abort', finish)
      socket.destroy()
      resolve(answer)
    }
    const waits = request.indexOf('\r\n\r\n') < 0
    const timer = setTimeout(finish, waits ? PATIENCE_MS / 5 : PATIENCE_MS)
    leave.addEventListener('abort', finish, { once: true })
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', finish)
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1')
    })
    socket.end(request) // half-closed: the end of the answer is the end of the connection
  })
}

function judgeAnswer(answer: string, secret: string, statuses: Map<string, number>): string | undefined {
  if (answer.includes(secret)) return 'a secret came out'
  let wrong: string | undefined
  const heads = [...answer.matchAll(/^HTTP\/1\.[01] (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n/gm)]
  heads.forEach((head, at) => {
    const [{ length }, status = '', headers = ''] = head
    const body = answer.slice(head.index + length, heads[at + 1]?.index)
    const isEmpty = body === '' || body === '0\r\n\r\n' // the second is how chunks end
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (status.startsWith('5')) wrong ??= `the status ${status}`
    // Node itself says no to a request without a host, and to what it cannot expect, with nothing but the status.
    if ((!isEmpty || /^[23]/.test(status)) && !POLICY.test(headers)) wrong ??= `${status} without the policy`
    if (/^x-injected:/im.test(headers)) wrong ??= 'a header of the request’s own making'
  })
  if (heads.length === 0) statuses.set('none', (statuses.get('none') ?? 0) + 1)
  return wrong
}

const METHODS = [
  ...[
    'GET',
    'GET',
    'GET',
    'GET',
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'PATCH',
    'CONNECT',
    'PRI',
  ],
  ...['get', 'G\0T', '', 'PROPFIND', 'GETGETGETGETGETGETGETGET'],
]

const HEADERS: readonly string[] = [
  ...[
    'Range: bytes=0-',
    'Range: bytes=0-0,1-1,-5',
    'Range: bytes=99999999999999999999-',
    'Range: x',
    'If-Range: "x"',
  ],
  ...[
    'If-None-Match: *',
    'If-None-Match: W/"x"',
    `If-None-Match: ${'"a",'.repeat(2000)}`,
    'If-None-Match: \x80\xff',
  ],
  ...[
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: chunked, identity',
    'Transfer-Encoding : chunked',
    'Transfer-Encoding: \x0bchunked',
  ],
  ...[
    'Content-Length: 5',
    'Content-Length: -1',
    'Content-Length: 99999999999999999999',
    'Content-Length: 5\r\nContent-Length: 6',
    'Content-Length: 0x5',
  ],
  ...[
    'Expect: 100-continue',
    'Expect: x',
    'Upgrade: websocket\r\nConnection: upgrade',
    'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings',
  ],
  ...[
    'Connection: keep-alive',
    'Connection: close',
    'Host:',
    'Host: a\r\nHost: b',
    'X-Forwarded-For: 1.2.3.4',
    'Accept-Encoding: gzip',
  ],
  ...[
    ' folded: x',
    'no colon',
    ': no name',
    'X\0: y',
    'X: \0',
    'X: a\nX-Injected: y',
    'Accept: ../../secret',
    'Content-Type: \0',
    'Content-Type: application/json',
  ],
  ...[
    'Authorization: Basic !!!',
    `X: ${'y'.repeat(20_000)}`,
    'X: y\r\n'.repeat(200).trimEnd(),
    '__proto__: x',
    'Cookie: a=b',
  ],
]

/** The bytes of one request, or of some that pretend to be one. */
function hostileRequest(m: Mutator, key: string): Buffer {
  const make = () => {
    const headers = Array.from({ length: m.chance(0.6) ? 0 : m.few(5) }, () => m.of(HEADERS))
    if (m.chance(0.95)) headers.unshift('Host: x')
    if (m.chance(0.7)) headers.push('Connection: close')
    const version = m.chance(0.9)
      ? 'HTTP/1.1'
      : m.of(['HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/9.9', 'HTTP/1.1 x', 'http/1.1', ''])
    const body = m.chance(0.2)
      ? m.of([
          'hello',
          '5\r\nhello\r\n0\r\n\r\n',
          'ffffffffffffffff\r\n',
          '0\r\n\r\nGET /../secret.jpg HTTP/1.1\r\nHost: x\r\n\r\n',
          '{"__proto__":{}}',
        ])
      : ''
    const line = `${m.chance(0.7) ? 'GET' : m.of(METHODS)} ${target(m, key)} ${version}`
    return Buffer.from(`${line}\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`, 'latin1')
  }
  return m.of<() => Buffer>([
    make,
    make,
    make,
    make,
    () => m.bytes(make(), [make()], 120),
    () => Buffer.concat(Array.from({ length: 1 + m.few(20) }, make)),
    () => make().subarray(0, m.pick(200)),
    () => m.noise(m.few(300)),
  ])()
}

function target(m: Mutator, key: string): string {
  const dots = m.of([
    '..',
    '%2e%2e',
    '.%2e',
    '%252e%252e',
    '..;',
    '%c0%ae%c0%ae',
    '%u002e%u002e',
    '.../',
    '..%00',
    '\xc0\xae\xc0\xae',
    '%e0%80%ae',
  ])
  const slash = m.of(['/', '/', '%2f', '%5c', '\\', '%252f', '//', '%c0%af', '/./'])
  const up = `${dots}${slash}`.repeat(1 + m.pick(6))
  return m.of<() => string>([
    () => `/${up}secret.jpg`,
    () => `/${up}secret.json`,
    () => `/home/${up}secret.jpg`,
    () => `/gallery/index/${up}secret.json`,
    () => `/gallery/index/${up}../secret.json`,
    () => `/${key.split('/').slice(0, 3).join(slash)}${slash}${up}secret.jpg`,
    () =>
      m.of([
        '/notes.txt',
        '/private.json',
        '/.hidden/secret.jpg',
        '/home/.secret.jpg',
        '/gallery/index/secret.html',
        '/gallery/secret.js',
      ]),
    () =>
      `/notes.txt${m.of(['%00.jpg', '\0.jpg', '?.jpg', '#.jpg', ';.jpg', '/.jpg', '%0a.jpg', '%20.jpg', '.jpg/..'])}`,
    () => `/${key}`,
    () => `/${key}${m.of(['%00', '?x=y', '/', '//', '%', '%zz', '#', '?'.repeat(5000)])}`,
    () =>
      m.of([
        '/',
        '/gallery',
        '/gallery/',
        '/gallery/gallery.js',
        '/healthz',
        '/metrics',
        '*',
        '',
        '//',
        '///etc/passwd.jpg',
        '/%2fetc/passwd.jpg',
      ]),
    () =>
      m.of([
        'http://evil.example/',
        `http://x/${key}`,
        'http://x/../secret.jpg',
        'file:///etc/passwd',
        '//evil.example/x.jpg',
        'x:y',
      ]),
    () => `/${'a'.repeat(m.of([100, 255, 256, 1024, 8000, 17_000]))}.jpg`,
    () => `/${'a/'.repeat(m.of([10, 500, 2000]))}x.jpg`,
    () => `/${encodeURIComponent(m.text().toWellFormed()).slice(0, 3000)}.jpg`,
    () => `/${m.text().replaceAll(' ', '').slice(0, 3000)}`,
    () => `/gallery/?q=${m.of(['<script>', '%0d%0aX-Injected:%20y', '\r\nX-Injected: y'])}`,
    () => m.of(['/<script>alert(1)</script>', '/%0d%0aX-Injected:%20y', '/constructor', '/__proto__/x.jpg']),
  ])()
}
