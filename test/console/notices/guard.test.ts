import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Guard } from '../../../console/notices/guard.ts'
import { send } from '../../../console/notices/request.ts'
import { openReceiver } from './notices-kit.ts'

const never = new AbortController().signal
const post = (guard: Guard, url: string) =>
  send(guard, { method: 'POST', url, headers: {}, body: Buffer.from('x') }, never)

function guarded(t: Test, options: Partial<Parameters<typeof Guard.open>[0]> = {}): Guard {
  const guard = Guard.open({ allow: [], ...options })
  t.teardown(() => guard[Symbol.dispose]())
  return guard
}

t.test('private addresses are none, however they are written; public ones are', async (t) => {
  const guard = guarded(t)
  for (const host of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '0.0.0.0',
    '10.0.0.1',
    '100.64.0.1',
    '169.254.169.254',
    '172.16.3.4',
    '192.168.1.1',
    '192.0.2.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '[::1]',
    '[::]',
    '[fe80::1]',
    '[fd00::1]',
    '[fec0::1]',
    '[ff02::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:a9fe:a9fe]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[64:ff9b::10.0.0.1]',
    '[64:ff9b:1::1]',
    '[2002:7f00:1::1]',
    '[2001::1]',
    '[2001:db8::1]',
  ]) {
    t.throws(() => guard.check(`http://${host}/`), { code: 'ADDRESS_NOT_ALLOWED' }, host)
    const outcome = await post(guard, `http://${host}:8080/`)
    t.match(outcome, { is: 'failed', final: true, code: 'ADDRESS_NOT_ALLOWED' }, host)
  }
  for (const host of ['1.1.1.1', '[2606:4700::1111]', '[64:ff9b::1.1.1.1]', '[::ffff:1.1.1.1]'])
    t.ok(guard.check(`https://${host}/`), host)
  for (const url of [
    'file:///etc/passwd',
    'ftp://1.1.1.1/',
    'gopher://1.1.1.1/',
    'http://1.1.1.1:22/',
    'nothing',
  ])
    t.throws(() => guard.check(url), { code: 'ADDRESS_NOT_ALLOWED' }, url)
})

t.test('what the operator allows is called: a host, an address, a network', async (t) => {
  const receiver = await openReceiver(t)
  const resolve = async (host: string) => [host.endsWith('.one') ? '127.0.0.1' : '127.0.0.2']
  for (const [allow, host] of [
    ['hook.lan.one', 'hook.lan.one'],
    ['HOOK.lan.one', 'hook.lan.one'],
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.0/8', 'other.one'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
  ] as const)
    t.match(
      await post(guarded(t, { allow: [allow], resolve }), `http://${host}:${receiver.port}/`),
      { is: 'sent' },
      allow,
    )
  t.match(await post(guarded(t, { allow: ['127.0.0.2'], resolve }), `http://other.one:${receiver.port}/`), {
    code: 'ADDRESS_NOT_ALLOWED',
  })
})

t.test('a name that answers otherwise the second time gains nothing', async (t) => {
  const receiver = await openReceiver(t)
  let asked = 0
  const resolve = async () => {
    asked += 1
    return asked === 1 ? ['203.0.113.9', '127.0.0.1', '::1'] : ['127.0.0.1']
  }
  const guard = guarded(t, { resolve })
  t.match(await post(guard, `http://rebind.example:${receiver.port}/`), { code: 'ADDRESS_NOT_ALLOWED' })
  t.match(await post(guard, `http://rebind.example:${receiver.port}/`), { code: 'ADDRESS_NOT_ALLOWED' })
  t.equal(receiver.heard.length, 0)
  t.equal(asked, 2, 'each connection asks once')
})

t.test('a redirect to the inside is not followed, nor any other', async (t) => {
  const [outside, inside] = [await openReceiver(t), await openReceiver(t)]
  outside.answer = (_heard, response) => void response.writeHead(307, { location: inside.url }).end()
  const outcome = await post(guarded(t, { allow: ['127.0.0.1'] }), outside.url)
  t.match(outcome, { is: 'failed', final: false, status: 307, why: /redirect to .*not followed/ })
  t.equal(inside.heard.length, 0)
})

t.test(
  'an answer of a gigabyte, one without an end, and none at all are cut',
  { timeout: 30_000 },
  async (t) => {
    const receiver = await openReceiver(t)
    const guard = guarded(t, { allow: ['127.0.0.1'] })
    let written = 0
    receiver.answer = (_heard, response) => {
      response.writeHead(200)
      const chunk = Buffer.alloc(1024 * 1024, 65)
      const more = () => {
        while (written < 1024 && !response.destroyed) {
          written += 1
          if (!response.write(chunk)) return void response.once('drain', more)
        }
      }
      more()
    }
    const gigabyte = await post(guard, receiver.url)
    t.match(gigabyte, { is: 'sent', status: 200, answer: 'A'.repeat(2048) })
    t.ok(written < 64, `it wrote ${written} MB`)
    receiver.answer = (_heard, response) => void response.writeHead(500).write('still')
    const from = performance.now()
    const [endless, silent] = await Promise.all([
      post(guard, receiver.url),
      new Promise<Awaited<ReturnType<typeof send>>>((resolve) => {
        const sockets = new Set<Socket>()
        const mute = createServer((socket) => void sockets.add(socket))
        mute.listen(0, '127.0.0.1', async () => {
          const { port } = mute.address() as { port: number }
          resolve(await post(guard, `http://127.0.0.1:${port}/`))
          for (const socket of sockets) socket.destroy()
          mute.close()
        })
      }),
    ])
    t.match(endless, { is: 'failed', status: 500, answer: 'still' })
    t.match(silent, { is: 'failed', final: false, code: 'TIMEOUT' })
    t.ok(performance.now() - from < 12_000)
  },
)

t.test('which answers are final', async (t) => {
  const receiver = await openReceiver(t)
  const guard = guarded(t, { allow: ['127.0.0.1'] })
  for (const [status, final] of [
    [400, true],
    [410, true],
    [413, true],
    [422, true],
    [401, false],
    [403, false],
    [404, false],
    [408, false],
    [409, false],
    [425, false],
    [429, false],
    [500, false],
    [503, false],
    [301, false],
  ] as const) {
    receiver.answer = (_heard, response) => void response.writeHead(status).end()
    t.match(await post(guard, receiver.url), { is: 'failed', status, final }, String(status))
  }
  receiver.answer = (_heard, response) =>
    void response.writeHead(429).end('{"ok":false,"parameters":{"retry_after":7}}')
  t.match(await post(guard, receiver.url), { retryAfterMs: 7000 }, 'as Telegram says it')
  receiver.answer = (_heard, response) => void response.writeHead(503, { 'retry-after': '999999999' }).end()
  t.match(await post(guard, receiver.url), { retryAfterMs: 3_600_000 }, 'and not for ever')
})
