import t from 'tap'
import { AllowedNetworks, isAllowable, isPublic } from '../../lib/networks.ts'

t.test('what is of the internet is public, and nothing else, however it is written', async (t) => {
  for (const address of [
    ...['1.1.1.1', '8.8.8.8', '::ffff:1.1.1.1'],
    ...['2606:4700::1111', '2a00:1450::1', '64:ff9b::1.1.1.1'],
  ])
    t.ok(isPublic(address), address)
  for (const address of [
    ...['0.0.0.0', '127.0.0.1', '127.255.0.1', '169.254.169.254', '255.255.255.255', '224.0.0.1'],
    ...['10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1', '192.0.2.1', '198.18.0.1', '203.0.113.9'],
    ...['::', '::1', 'fe80::1', 'fd00::1', 'fec0::1', 'ff02::1', '2001::1', '2001:db8::1', '4000::1'],
    ...['::127.0.0.1', '::ffff:10.0.0.1', '::ffff:a9fe:a9fe', '2002:7f00:1::1'],
    ...['64:ff9b::a00:1', '64:ff9b::7f00:1', '64:ff9b:1::1'],
    ...['', 'localhost', 'example.org', '1.1.1.1/32'],
  ])
    t.notOk(isPublic(address), address)
})

t.test('an entry is a host, an address or a block', async (t) => {
  for (const entry of ['nas.local', 'localhost', 'cam.lan.', '10.0.0.0/8', 'fd00::/8', '::1', '10.0.0.1'])
    t.ok(isAllowable(entry), entry)
  for (const entry of [
    ...['', ' ', 'a b', '*', '*.lan', 'http://x', '-a', `${'a'.repeat(254)}`],
    ...['10.0.0.0/33', '10.0.0.0/8/8', 'fd00::/129', '10.0.0.0/', '300.1.1.1', '1.2.3', '127.1'],
  ])
    t.notOk(isAllowable(entry), entry)
})

t.test('what is named is allowed: a host, an address, a block', async (t) => {
  for (const ownBy of ['any', 'own'] as const) {
    const allows = (entries: string[], address: string, host?: string) =>
      new AllowedNetworks(entries, { ownBy }).allows(address, host)
    t.ok(allows([], '8.8.8.8'))
    t.notOk(allows([], '10.0.0.1'))
    t.notOk(allows(['10.0.0.1'], 'no address'))
    t.ok(allows(['192.168.1.0/24'], '192.168.1.77'))
    t.ok(allows(['192.168.1.0/24'], '::ffff:192.168.1.77'))
    t.ok(allows(['::ffff:192.168.1.77'], '192.168.1.77'))
    t.notOk(allows(['192.168.1.0/24'], '192.168.2.77'))
    t.notOk(allows(['::/0'], '10.0.0.1'), 'another kind')
    t.ok(allows(['CAM.lan'], '10.0.0.1', 'cam.LAN.'))
    t.notOk(allows(['cam.lan'], '10.0.0.1', 'other.lan'))
    t.notOk(allows(['cam.lan'], '10.0.0.1'))
    for (const [entry, address] of [
      ...[['127.0.0.1', '127.0.0.1'] as const, ['127.0.0.0/8', '127.0.0.9'] as const],
      ...[['169.254.0.0/16', '169.254.1.1'] as const, ['::1', '::1'] as const],
    ])
      t.ok(allows([entry], address), entry)
    t.ok(allows(['localhost'], '127.0.0.1', 'localhost'))
  }
})

t.test('this machine and its link: by what is wider, or by their own alone', async (t) => {
  for (const [entry, address, host] of [
    ['0.0.0.0/0', '127.0.0.1'],
    ['0.0.0.0/0', '169.254.1.1'],
    ['0.0.0.0/0', '0.0.0.0'],
    ['126.0.0.0/7', '127.0.0.1'],
    ['::/0', '::1'],
    ['::/0', 'fe80::1'],
    ['own.lan', '127.0.0.1', 'own.lan'],
  ] as const) {
    t.ok(new AllowedNetworks([entry], { ownBy: 'any' }).allows(address, host), entry)
    t.notOk(new AllowedNetworks([entry], { ownBy: 'own' }).allows(address, host), entry)
  }
})

t.test('a list says what it names, whether or not that is public', async (t) => {
  const list = new AllowedNetworks(['cam.lan', '8.8.8.0/24'], { ownBy: 'any' })
  for (const host of ['cam.lan', 'CAM.lan.', '8.8.8.8', '::ffff:8.8.8.8']) t.ok(list.names(host), host)
  for (const host of ['lan', '1.1.1.1', '']) t.notOk(list.names(host), host)
})
