import { readFileSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openGuest } from '../../demo/guest.ts'
import { newStreamKey } from '../../device/listen/change.ts'
import { hashOfKey, readStreams } from '../../device/listen/streams-file.ts'

const PORTS = { rtmpPort: 1935, whipPort: 8889 }

t.test('a guest is let in by a key of this run, and recorded; streams of an earlier run stay', async (t) => {
  const data = t.testdir()
  const file = join(data, 'streams.yaml')
  const first = await openGuest({ data, ...PORTS, lan: false })
  t.match(readStreams(file), [
    { name: 'guest', keyHash: hashOfKey(first.key), record: { mode: 'always', audio: true } },
  ])
  t.equal(first.page, `http://127.0.0.1:8889/#key=${first.key}`)
  const again = await openGuest({ data, ...PORTS, lan: false })
  t.not(again.key, first.key)
  t.match(readStreams(file), [{ keyHash: hashOfKey(again.key), record: { mode: 'always' } }])
  t.notMatch(readFileSync(file, 'utf8'), again.key)

  writeFileSync(file, JSON.stringify({ streams: [{ name: 'door', keyHash: hashOfKey(newStreamKey()) }] }))
  await openGuest({ data, ...PORTS, lan: false })
  t.match(readStreams(file), [{ name: 'door' }, { name: 'guest' }])
})

const isAlone = Object.values(networkInterfaces()).every((list) =>
  list?.every(({ family, internal }) => internal || family !== 'IPv4'),
)
t.test(
  'for phones of the network there is a page over TLS',
  { skip: isAlone && 'this machine is in no network' },
  async (t) => {
    const guest = await openGuest({ data: t.testdir(), ...PORTS, lan: true })
    t.match(guest.page, /^https:\/\/[\d.]+:8889\/#key=/)
    const { whip } = JSON.parse(guest.env.SIGHTLINE_LISTEN ?? '')
    t.match(readFileSync(whip.tls.certFile, 'utf8'), /BEGIN CERTIFICATE/)
  },
)
