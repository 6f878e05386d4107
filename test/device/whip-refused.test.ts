import t, { type Test } from 'tap'
import { MediaStreamTrack, RTCPeerConnection } from 'werift'
import {
  PUSHED_BYTES_MAX,
  PUSHED_PARTS_MAX,
  WHIP_FRAME_PACKETS_MAX,
  WHIP_OFFER_BYTES_MAX,
} from '../../device/limits.ts'
import { PushedBytes } from '../../device/listen/pushed-bytes.ts'
import { WhipMedia } from '../../device/listen/whip-media.ts'
import { readOffer, withPublicAddresses } from '../../device/listen/whip-offer.ts'
import { seeded, until } from '../kit/wait.ts'
import { openWhipDevice, type WhipDevice } from '../kit/whip.ts'

/** What a publisher of another make offers, which then never sends anything. */
async function offerOf(t: Test): Promise<string> {
  const peer = new RTCPeerConnection({ iceServers: [] })
  t.teardown(() => peer.close())
  peer.addTransceiver(new MediaStreamTrack({ kind: 'video' }), { direction: 'sendonly' })
  await peer.setLocalDescription(await peer.createOffer())
  return peer.localDescription?.sdp ?? ''
}

interface Asked {
  readonly key?: string
  readonly body?: string
  readonly type?: string
  readonly method?: string
}

async function ask(url: string, { key, body, type = 'application/sdp', method = 'POST' }: Asked) {
  const headers = {
    ...(body !== undefined && { 'content-type': type }),
    ...(key && { authorization: `Bearer ${key}` }),
  }
  const response = await fetch(url, { method, headers, ...(body !== undefined && { body }) })
  const text = await response.text()
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json') ?? false
  const problem = isProblem ? (JSON.parse(text) as { code: string; detail: string }) : undefined
  return { status: response.status, headers: response.headers, text, ...problem }
}

const sessions = async ({ metrics }: WhipDevice) =>
  Number((await metrics.getSingleMetric('sightline_whip_sessions')?.get())?.values[0]?.value ?? 0)

t.test('without a key that holds, nobody gets in, and is told why', async (t) => {
  const device = await openWhipDevice(t, [{ name: 'phone' }, { name: 'off', active: false }])
  const body = await offerOf(t)
  t.match(await ask(device.endpoint, { body }), { status: 401, code: 'KEY_MISSING' })
  t.match(await ask(device.endpoint, { body, key: 'AAAAAAAAAAAAAAAAAAAAAA' }), {
    status: 401,
    code: 'KEY_UNKNOWN',
  })
  t.match(await ask(device.endpoint, { body, key: device.keys.off }), {
    status: 403,
    code: 'STREAM_INACTIVE',
  })
  t.match(await ask(device.endpoint, { body, key: 'x'.repeat(500) }), { status: 401 })
  for (let round = 0; round < 300; round += 1) {
    const { status } = await ask(device.endpoint, { body, key: `wrong-${round}` })
    if (status !== 401) t.fail(`got in: ${status}`)
  }
  t.equal(await sessions(device), 0)
  t.match(device.refused, { KEY_UNKNOWN: 301, KEY_MISSING: 2, STREAM_INACTIVE: 1 })
})

t.test(
  'an offer that cannot be taken is refused in words, and repeats nothing of what was sent',
  async (t) => {
    const device = await openWhipDevice(t, [{ name: 'phone' }])
    const key = device.keys.phone
    const good = await offerOf(t)
    const refused = async (body: string, status: number, said: RegExp) => {
      const answer = await ask(device.endpoint, { key, body })
      t.equal(answer.status, status, String(said))
      t.match(answer.detail, said)
      t.notMatch(answer.text, '<script>')
    }
    await refused(`v=0\r\n${'a=x:<script>\r\n'.repeat(80_000)}`, 413, /bytes/)
    await refused('hello <script>', 422, /no SDP offer/)
    await refused('v=0\r\ns=-\r\n', 422, /no media/)
    await refused(good.replaceAll(/H264|VP8/gi, 'VP9'), 422, /neither H.264 nor VP8/)
    await refused(good.replaceAll('sendonly', 'recvonly'), 422, /WHEP/)
    await refused(good.replaceAll(/a=ice-pwd.*\r\n/g, ''), 422, /ice-pwd/)
    await refused(good + good.slice(good.indexOf('m=video')), 422, /one video/)
    t.match(await ask(device.endpoint, { key, body: good, type: 'text/plain' }), { status: 415 })
    t.match(await ask(device.endpoint, { key, body: '{}', type: 'application/json' }), { status: 415 })
    t.equal(await sessions(device), 0)

    // Cut off and mixed up anywhere: whatever it answers, it goes on answering.
    const random = seeded(7)
    for (let round = 0; round < 60; round += 1) {
      const lines = good.split('\r\n')
      for (let change = 0; change < 3; change += 1) {
        const at = Math.floor(random() * lines.length)
        const line = lines[at] ?? ''
        const cut = Math.floor(random() * line.length)
        const kinds = [line.slice(0, cut), `${line}${line}`, line.replaceAll(/\d+/g, '99999999999'), '']
        lines[at] = kinds[Math.floor(random() * kinds.length)] ?? ''
      }
      const { status, headers } = await ask(device.endpoint, { key, body: lines.join('\r\n') })
      if (status === 500) t.fail(`unforeseen: ${lines.join('\\r\\n')}`)
      const location = headers.get('location')
      if (location) await ask(new URL(location, device.endpoint).href, { method: 'DELETE' })
    }
    t.equal(await sessions(device), 0)
  },
)

t.test('the protocol: an absolute path as Location, DELETE, PATCH, OPTIONS, other methods', async (t) => {
  const device = await openWhipDevice(t, [{ name: 'phone' }])
  const key = device.keys.phone
  const made = await ask(device.endpoint, { key, body: await offerOf(t) })
  t.equal(made.status, 201)
  t.equal(made.headers.get('content-type'), 'application/sdp')
  t.match(made.headers.get('location'), /^\/whip\/sessions\/[\w-]{22}$/)
  t.match(made.headers.get('etag'), /^"/)
  t.match(made.text, /a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 \d+ typ host/)
  t.match(made.text, /a=end-of-candidates/)
  t.notMatch(made.text, /transport-wide-cc|video-orientation/)
  const session = new URL(made.headers.get('location') ?? '', device.endpoint).href
  t.match(await ask(session, { method: 'PATCH', body: 'a=x', type: 'application/trickle-ice-sdpfrag' }), {
    status: 501,
  })
  t.match(await ask(session, { method: 'GET' }), { status: 405 })
  t.match(await ask(device.endpoint, { method: 'GET' }), { status: 405 })
  t.equal(await sessions(device), 1)
  t.equal((await ask(session, { method: 'DELETE' })).status, 200)
  t.match(await ask(session, { method: 'DELETE' }), { status: 404, code: 'SESSION_UNKNOWN' })
  t.equal(await sessions(device), 0)
  const preflight = await fetch(device.endpoint, { method: 'OPTIONS' })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), '*')
  t.match(preflight.headers.get('access-control-allow-headers'), 'authorization')
})

t.test('who is answered and sends nothing is let go, and makes room', async (t) => {
  const device = await openWhipDevice(t, [{ name: 'a' }, { name: 'b' }], { mediaMsMax: 600, sessionsMax: 1 })
  const body = await offerOf(t)
  t.equal((await ask(device.endpoint, { key: device.keys.a, body })).status, 201)
  t.match(await ask(device.endpoint, { key: device.keys.b, body }), { status: 503, code: 'TOO_MANY' })
  t.type(device.streams.state('a')?.live?.sinceMs, 'number')
  await until('it is let go', () => device.streams.state('a')?.live === null, 5000)
  t.equal(await sessions(device), 0)
  t.equal((await ask(device.endpoint, { key: device.keys.b, body })).status, 201)
})

t.test(
  'a session that fails while its offer is answered, or whose agent stops, leaves nothing behind',
  async (t) => {
    const device = await openWhipDevice(t, [{ name: 'phone' }])
    const body = await offerOf(t)
    const { createAnswer } = RTCPeerConnection.prototype
    let meanwhile: (peer: RTCPeerConnection) => void = (peer) => peer.connectionStateChange.execute('failed')
    const peers: RTCPeerConnection[] = []
    RTCPeerConnection.prototype.createAnswer = function () {
      peers.push(this)
      meanwhile(this)
      return createAnswer.call(this)
    }
    t.teardown(() => {
      RTCPeerConnection.prototype.createAnswer = createAnswer
    })
    t.match(await ask(device.endpoint, { key: device.keys.phone, body }), {
      status: 422,
      code: 'OFFER_UNSUITABLE',
    })
    t.equal(await sessions(device), 0)
    t.equal(device.streams.state('phone')?.live, null)
    let stopped: Promise<void> | undefined
    meanwhile = () => {
      stopped = device.whip[Symbol.asyncDispose]()
    }
    await ask(device.endpoint, { key: device.keys.phone, body }).catch(() => {})
    await stopped
    await until(
      'it is closed',
      () => peers.length === 2 && peers.every((it) => it.connectionState === 'closed'),
    )
    t.equal(await sessions(device), 0)
  },
)

t.test('behind a router, an answer names its address and ports of the range', async (t) => {
  const device = await openWhipDevice(t, [{ name: 'phone' }], {
    publicAddresses: ['203.0.113.7'],
    udpPorts: { from: 50_400, to: 50_440 },
  })
  const { text } = await ask(device.endpoint, { key: device.keys.phone, body: await offerOf(t) })
  const ports = [...text.matchAll(/a=candidate:\S+ 1 udp \d+ 203\.0\.113\.7 (\d+) typ host/g)].map(
    ([, port]) => Number(port),
  )
  t.ok(ports.length > 0 && ports.every((port) => port >= 50_400 && port <= 50_440), String(ports))
  t.equal(
    withPublicAddresses('a=candidate:1 1 udp 5 fd00::2 9 typ host', ['203.0.113.7']).includes('203'),
    false,
  )
})

t.test('addresses in an offer are heeded up to a limit, and names are not looked up', async (t) => {
  const good = await offerOf(t)
  const candidates = Array.from(
    { length: 100 },
    (_, index) => `a=candidate:${index} 1 udp 1 10.0.0.1 ${2000 + index} typ host`,
  )
  const name = 'a=candidate:1 1 udp 1 0c4e8b6e-1111-4222-8333-444455556666.local 5000 typ host'
  const read = readOffer(good + [name, ...candidates, ''].join('\r\n'))
  t.ok('sdp' in read)
  if ('sdp' in read) {
    t.notMatch(read.sdp, '.local')
    t.ok((read.sdp.match(/a=candidate:/g) ?? []).length <= 20)
  }
})

t.test('an offer of thousands of payload types is refused in a moment', async (t) => {
  const good = await offerOf(t)
  const types = Array.from({ length: 5000 }, (_, number) => String(number + 200))
  const wide = good.replace(/^(m=video \d+ \S+) .*/m, `$1 ${types.join(' ')}`)
  const of = (map: (type: string) => string, count: number) =>
    `${wide}${types.slice(0, count).map(map).join('')}`
  const cases = [
    [of((type) => `a=rtpmap:${type} x\r\n`, 1500), /128 payload types/],
    [of(() => 'a=b\r\n', 5000), /lines/],
    // Each line for all types: what that makes grows with both.
    [of((type) => `a=rtpmap:${type} x\r\na=rtcp-fb:* b\r\n`, 900).replace(wide, good), /128 payload types/],
  ] as const
  for (const [offer, said] of cases) {
    t.ok(offer.length < WHIP_OFFER_BYTES_MAX, `${offer.length} bytes`)
    const startMs = performance.now()
    const read = readOffer(offer)
    const tookMs = performance.now() - startMs
    t.match('wrong' in read && read.wrong, said)
    t.ok(tookMs < 250, `${tookMs} ms`)
  }
})

t.test('to addresses that no publisher has, nothing is sent', async (t) => {
  const good = (await offerOf(t)).replaceAll(/a=candidate:.*\r\n/g, '')
  const read = (address: string, port: number | string, loopback = false) => {
    const offer = readOffer(`${good}a=candidate:1 1 udp 1 ${address} ${port} typ host\r\n`, { loopback })
    t.ok('sdp' in offer)
    return 'sdp' in offer && offer.sdp.includes('a=candidate:')
  }
  const nobodys = ['0.0.0.0', '224.0.0.251', '255.255.255.255', '240.0.0.1', '::', 'ff02::1']
  const own = ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', '0:0:0:0:0:0:0:1']
  for (const address of [...nobodys, '::ffff:224.0.0.1', '::ffff:0.0.0.0', ...own])
    t.equal(read(address, 5000), false, address)
  for (const address of nobodys) t.equal(read(address, 5000, true), false, address)
  for (const address of own) t.equal(read(address, 5000, true), true, address)
  for (const port of [0, 65_536, -1, 'x', '1e3', '0x10']) t.equal(read('192.168.1.9', port), false, `${port}`)
  for (const address of ['192.168.1.9', '10.0.0.1', '203.0.113.7', 'fd00::2', 'fe80::1', '2001:db8::1'])
    t.equal(read(address, 65_535), true, address)
})

/** What good packets begin with, so that noise gets further in. */
const STARTS = {
  h264: [
    [0x67, 0x42, 0xe0, 0x1f, 0x8c],
    [0x68, 0xce],
    [0x65, 0x88],
    [0x41, 0x9a],
    [0x7c, 0x85, 0x88],
    [0x7c, 0x45],
    [0x78, 0, 5, 0x67, 0x42, 0xe0, 0x1f, 0x8c],
  ],
  vp8: [
    [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 1, 240, 0],
    [0x90, 0x80, 0x81, 0x02, 0x11, 0, 0],
    [0x10, 0x11],
  ],
} as const

t.test(
  'a picture of more packets, or more parts, than a large one has is dropped, and the next goes on',
  (t) => {
    const slice = Buffer.from([0x41, 0x9a])
    const sets = [Buffer.from([0x67, 0x42, 0xe0, 0x1f, 0x8c]), Buffer.from([0x68, 0xce])]
    const key = [...sets, Buffer.from([0x65, 0x88])]
    const parts = Buffer.concat([
      Buffer.from([0x78]),
      ...Array(300).fill(Buffer.concat([Buffer.from([0, 2]), slice])),
    ])
    for (const large of [Array(WHIP_FRAME_PACKETS_MAX + 1).fill(slice), Array(100).fill(parts)]) {
      const dropped: string[] = []
      const media = new WhipMedia(
        { video: 'h264', audio: undefined },
        { needsKey: () => {}, dropped: (why) => void dropped.push(why) },
      )
      let sequenceNumber = 0
      for (const [timestamp, payloads] of [key, [slice], large, key].entries())
        for (const [index, payload] of payloads.entries()) {
          const header = {
            sequenceNumber,
            timestamp: timestamp * 3000,
            marker: index === payloads.length - 1,
          }
          media.packet('video', { header, payload }, timestamp * 33)
          sequenceNumber += 1
        }
      t.strictSame(dropped, ['damaged'])
      t.equal(media.pictures, 3)
    }
    t.end()
  },
)

t.test('what waits for the decoder is bounded in number too', (t) => {
  const pushed = new PushedBytes()
  for (let part = 0; part < PUSHED_PARTS_MAX; part += 1) pushed.push(Buffer.alloc(1))
  t.equal(pushed.isFull, true)
  t.end()
})

t.test('whatever a publisher with a key sends as media, memory stays bounded and nothing is thrown', (t) => {
  const random = seeded(11)
  for (const video of ['h264', 'vp8'] as const) {
    const media = new WhipMedia({ video, audio: 2 }, { needsKey: () => {}, dropped: () => {} })
    for (let round = 0; round < 20_000; round += 1) {
      const noise = Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256))
      const starts = STARTS[video]
      const start = random() < 0.5 ? (starts[Math.floor(random() * starts.length)] ?? []) : []
      const payload = Buffer.from([...start, ...noise])
      const sequenceNumber = random() < 0.9 ? round & 0xffff : Math.floor(random() * 0x10000)
      const timestamp = random() < 0.9 ? Math.floor(round / 3) * 3000 : Math.floor(random() * 2 ** 32)
      media.packet(
        random() < 0.8 ? 'video' : 'audio',
        { header: { sequenceNumber, timestamp, marker: random() < 0.3 }, payload },
        round,
      )
      if (round % 100 === 0) media.tick(round)
      if (random() < 0.01) media.report('video', timestamp, BigInt(Math.floor(random() * 2 ** 48)))
    }
    t.ok(media.pictures > 10, `${media.pictures} pictures`)
    t.ok(media.queue.bytes < PUSHED_BYTES_MAX + 100_000, `${media.queue.bytes} bytes`)
  }
  t.end()
})
