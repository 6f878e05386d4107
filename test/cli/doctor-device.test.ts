import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { Configuration } from '../../commands/doctor/configuration.ts'
import { checkDesiredSigning } from '../../commands/doctor/console.ts'
import { checkDesiredSigners, checkOutbox, checkSigning, checkStreams } from '../../commands/doctor/device.ts'
import { checkFiles } from '../../commands/doctor/files.ts'
import type { Finding } from '../../commands/doctor/finding.ts'
import { checkPorts, listeningOf, whoRuns } from '../../commands/doctor/ports.ts'
import { consoleSchema } from '../../console/config.ts'
import { deviceSchema } from '../../device/config.ts'
import { outboxFolder } from '../../device/link/outbox.ts'
import { changeStream, newStreamKey } from '../../device/listen/change.ts'
import { hashOfKey } from '../../device/listen/streams-file.ts'
import { openAuthority } from '../kit/certificates.ts'
import { freePort } from '../kit/ports.ts'
import { Program, temporaryFolder } from '../kit/programs.ts'
import { configFile, sightline } from './sightline.ts'

/** What doctor says of a device that listens, records and signs. */

const configurationOf = (settings: object) => {
  const config = deviceSchema.parse({ site: 'home', device: 'door', cameras: [], ...settings })
  return { file: 'device.yaml', program: 'device', config } satisfies Configuration
}

async function streamsFile(folder: string, ...names: readonly string[]): Promise<string> {
  const file = join(folder, 'streams.yaml')
  for (const name of names)
    await changeStream({ file }, name, { do: 'add', keyHash: hashOfKey(newStreamKey()) })
  return file
}

const about = (findings: readonly Finding[], what: string) => findings.filter((it) => it.what === what)

t.test('the streams file: how many, whether any may publish, and what is wrong with it', async (t) => {
  const folder = temporaryFolder(t)
  const file = await streamsFile(folder, 'yard', 'gate')
  const found = (settings: object = {}) =>
    about(
      checkStreams(configurationOf({ listen: { streamsFile: file, rtmp: {} }, ...settings }).config),
      `streams ${file}`,
    )
  t.match(found(), [{ level: 'ok', found: '2 streams, 2 active' }])
  for (const name of ['yard', 'gate']) await changeStream({ file }, name, { do: 'deactivate' })
  t.match(found(), [{ level: 'warn', found: 'has no active stream', todo: /streams activate/ }])
  t.match(found({ cameras: [{ name: 'yard', source: 'testcard' }] }), [
    { level: 'FAIL', found: /there is another camera "yard"/ },
  ])
  writeFileSync(file, 'streams: []\n')
  t.match(found(), [{ level: 'warn', found: 'has no streams', todo: /sightline streams add/ }])
  writeFileSync(file, 'streams:\n  - name: yard\n    keyHash: a-key\n')
  t.match(found(), [{ level: 'FAIL', found: /streams\.yaml:3: .*keyHash.*SHA-256/s, todo: /\w{3}/ }])
  const none = join(folder, 'none.yaml')
  t.match(about(checkStreams(configurationOf({ listen: { streamsFile: none } }).config), `streams ${none}`), [
    { level: 'FAIL', found: /none\.yaml not found/, todo: /Create it with: sightline streams add/ },
  ])
})

t.test('certificates of listeners and of signing: whether they fit, and for how long', async (t) => {
  const authority = await openAuthority(t)
  const file = await streamsFile(temporaryFolder(t), 'yard')
  const found = (settings: object, certFile: string) =>
    about(checkFiles(configurationOf(settings)), `certificate ${certFile}`)
  const tls = await authority.server('device')
  const old = await authority.server('old', { endedDaysAgo: 2 })
  const listen = { streamsFile: file, rtmp: { tls }, whip: { tls: old } }
  t.match(found({ listen }, tls.certFile), [{ level: 'ok', found: /valid until .*\(listen\.rtmp\.tls\)/ }])
  t.match(found({ listen }, old.certFile), [
    { level: 'FAIL', found: /expired on .*\(listen\.whip\.tls\)/, todo: /certs renew/ },
  ])
  const camera = { cameras: [{ name: 'card', source: 'testcard' }] }
  const signer = await authority.signer('home/door', { days: 100 })
  const other = await authority.signer('home/yard')
  const soon = await authority.signer('lab/door', { days: 10 })
  const folder = temporaryFolder(t)
  const signed = async (pair: { certFile: string; keyFile: string }, whose: object = {}) => {
    const { config } = configurationOf({ ...camera, ...whose, signing: { ...pair, folder } })
    return about(await checkSigning(config), `signing ${pair.certFile}`)
  }
  t.match(await signed(signer), [{ level: 'ok', found: /valid until .*\(signing\)/ }])
  t.match(await signed(soon, { site: 'lab' }), [{ level: 'warn', found: /in \d+ days \(signing\)/ }])
  t.match(await signed(other), [{ level: 'FAIL', found: /is for home\/yard, and this device is home\/door/ }])
  t.match(await signed({ certFile: signer.certFile, keyFile: other.keyFile }), [
    { level: 'FAIL', found: /does not belong to the certificate/, todo: /made together/ },
  ])
  t.match(await signed(tls), [{ level: 'FAIL', found: /contains no Ed25519 key/, todo: /\w{3}/ }])
  chmodSync(signer.keyFile, 0o644)
  t.match(
    about(
      await checkSigning(configurationOf({ ...camera, signing: { ...signer, folder } }).config),
      `secret ${signer.keyFile}`,
    ),
    [{ level: 'warn', todo: /chmod 600/ }],
  )
})

t.test('who signs what a device shall be, and who may: both ends are looked at', async (t) => {
  const authority = await openAuthority(t)
  const folder = join(temporaryFolder(t), 'signers')
  mkdirSync(folder)
  const device = () => {
    const remote = { desired: { signers: folder } }
    return checkDesiredSigners(
      configurationOf({ cameras: [{ name: 'card', source: 'testcard' }], remote }).config,
    )
  }
  t.match(device(), [{ level: 'FAIL', found: /has no authority's certificate/, todo: /Put the ca\.pem/ }])
  copyFileSync(authority.caFile, join(folder, 'ca.pem'))
  t.match(device(), [{ level: 'ok', what: `signers ${folder}` }])
  const console = (signing: object) => checkDesiredSigning(consoleSchema.parse({ desired: { signing } }))
  const signer = await authority.signer('console/main', { days: 100 })
  const soon = await authority.signer('console/soon', { days: 10 })
  t.match(console(signer), [{ level: 'ok', found: /valid until .*\(desired\.signing\)/ }])
  t.match(console(soon), [{ level: 'warn', found: /in \d+ days/ }])
  t.match(console({ ...signer, keyFile: soon.keyFile }), [{ level: 'FAIL', found: /is not the key of/ }])
  t.match(console(await authority.client('console')), [
    { level: 'FAIL', found: /no certificate of a signer/ },
  ])
})

t.test('ports of listeners: free, taken by another, by another of this file, UDP too', async (t) => {
  const file = await streamsFile(temporaryFolder(t), 'yard')
  const stranger = createServer().listen(0, '127.0.0.1')
  t.teardown(() => stranger.close())
  await once(stranger, 'listening')
  const { port } = stranger.address() as { port: number }
  const udp = createSocket('udp4')
  t.teardown(() => udp.close())
  const from = await new Promise<number>((resolve) =>
    udp.bind({ port: 0, address: '0.0.0.0' }, () => resolve(udp.address().port)),
  )
  const free = await freePort()
  const check = (listen: object) => {
    const configuration = configurationOf({ listen: { streamsFile: file, ...listen }, http: { port: 0 } })
    t.strictSame(listeningOf(configuration).length, Object.keys(listen).length + 1)
    return checkPorts(configuration, undefined, [])
  }
  const found = await check({
    rtmp: { port },
    http: { port: free },
    whip: { port: free, udpPorts: { from: Math.min(from, 65_534), to: Math.min(from, 65_534) + 1 } },
  })
  t.match(about(found, `port 127.0.0.1:${port}`), [
    { level: 'FAIL', found: new RegExp(`in use by process ${process.pid} `), todo: /under "listen\.rtmp"/ },
  ])
  t.match(about(found, `port 127.0.0.1:${free}`), [
    { level: 'ok', found: 'free' },
    { level: 'FAIL', found: /listen\.whip uses it too/, todo: /under "listen\.http"/ },
  ])
  t.match(
    found.filter(({ what }) => what.startsWith('UDP')),
    [{ level: /warn|FAIL/, found: /1 of 2 free|none free/, todo: /"listen\.whip\.udpPorts"/ }],
  )
})

t.test('the outbox: a folder that can be written, and room in it, where something is recorded', async (t) => {
  const folder = temporaryFolder(t)
  const of = (record: object, outbox: object = {}) =>
    checkOutbox(
      configurationOf({
        cameras: [{ name: 'card', source: 'testcard', record }],
        outbox: { folder: join(folder, 'outbox'), bytesMax: '1MB', ...outbox },
      }).config,
    )
  t.match(await of({}), [{ level: 'skip', found: /no camera records/ }])
  t.strictSame(await of({ mode: 'always' }, { enabled: false }), [])
  const [writable, room] = await of({ mode: 'always' })
  const what = `store ${outboxFolder(join(folder, 'outbox'), { site: 'home', device: 'door' })}`
  t.match(writable, { level: 'ok', what, found: /can be created; a write/ })
  t.match(room, { what, found: /free of/ })
  writeFileSync(join(folder, 'file'), '')
  t.match(await of({ mode: 'always' }, { folder: join(folder, 'file') }), [
    { level: 'FAIL', found: /a file, or below one/, todo: /"outbox\.folder"/ },
  ])
  t.match(await of({ mode: 'always' }, { bytesMax: '900TB' }), [
    { level: 'ok' },
    { level: 'warn', found: /its limits allow/, todo: /"bytesMax"/ },
  ])
  const own = outboxFolder(join(folder, 'outbox'), { site: 'home', device: 'door' })
  mkdirSync(own, { recursive: true })
  t.match(await of({}), [{ what: `store ${own}` }, {}, { level: 'ok', found: /nothing stored yet/ }])
})

t.test('of a device that runs, its ports are its own', async (t) => {
  const folder = temporaryFolder(t)
  const file = await streamsFile(folder, 'yard')
  const settings = {
    cameras: [],
    listen: { streamsFile: file, rtmp: { port: await freePort() }, http: { port: await freePort() } },
    http: { port: await freePort() },
    remote: { folder },
    broker: { url: `mqtt://127.0.0.1:${await freePort()}` },
  }
  await Program.waiting(t, 'device', settings, ({ msg }) => msg === 'takes pictures by HTTP')
  const configuration = configurationOf(settings)
  const found = await checkPorts(configuration, await whoRuns(configuration), [])
  for (const { port } of [settings.listen.rtmp, settings.listen.http, settings.http])
    t.match(about(found, `port 127.0.0.1:${port}`), [
      { level: 'ok', found: /in use by this program, which is running: process \d+/ },
    ])
  const { stdout } = await sightline(t, ['doctor', '--config', configFile(t, settings, 'door.yaml')])
  t.match(stdout, /^ok {4}streams .*streams\.yaml: 1 stream, 1 active$/m)
  t.match(stdout, /^skip {2}store .*: no camera records/m)
})
