import t from 'tap'
import { idMinter, newId } from '../../wire/id.ts'
import { KINDS, keptFilters, keptTopic, kindOfKey, parseKeptTopic } from '../../wire/kinds.ts'
import { isName } from '../../wire/names.ts'
import { objectKey, parseObjectKey } from '../../wire/object-key.ts'
import { cropFilter, cropTopic, statusTopic } from '../../wire/topics.ts'
import { cropMetadata } from '../kit/crops.ts'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

t.test('ids are UUIDv7 and carry the time', async (t) => {
  const at = Date.parse('2026-11-20T13:00:00Z')
  const id = idMinter(() => at)()
  t.match(id, UUID_V7)
  t.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), at)
  t.match(newId(), UUID_V7)
})

t.test(
  'ids of one minter ascend: within a millisecond, when it is full, when the clock steps back',
  async (t) => {
    const start = 1_800_000_000_000
    let calls = 0
    const clock = () => {
      calls += 1
      if (calls < 10_000) return start // more than one millisecond's counter holds
      if (calls < 10_100) return start - 60_000
      return start + calls
    }
    const mint = idMinter(clock)
    const ids = Array.from({ length: 10_500 }, () => mint())
    t.strictSame([...ids].sort(), ids)
    t.equal(new Set(ids).size, ids.length)
    t.ok(ids.every((id) => UUID_V7.test(id)))
  },
)

t.test('two minters at the same moment do not mint the same', async (t) => {
  const [one, other] = [idMinter(() => 1e12), idMinter(() => 1e12)]
  const ids = Array.from({ length: 2000 }, () => [one(), other()]).flat()
  t.equal(new Set(ids).size, ids.length)
})

t.test('topics are built and understood', async (t) => {
  const address = { site: 'home', device: 'pi-1', camera: 'door_2' }
  t.equal(cropTopic('sightline/v1', address), 'sightline/v1/home/pi-1/door_2/crop')
  t.equal(statusTopic('sightline/v1', address), 'sightline/v1/home/pi-1/status')
  t.equal(cropFilter('sightline/v1'), 'sightline/v1/+/+/+/crop')
  t.strictSame(keptFilters('sightline/v1'), ['sightline/v1/+/+/+/crop', 'sightline/v1/+/+/+/clip'])
  t.strictSame(parseKeptTopic('sightline/v1', 'sightline/v1/home/pi-1/door_2/crop')?.address, address)
  t.strictSame(parseKeptTopic('a', 'a/home/pi-1/door_2/crop')?.address, address)
})

t.test('a topic that is none of ours is not understood', async (t) => {
  for (const topic of [
    '',
    'sightline/v1',
    'sightline/v1/',
    'sightline/v1/home/pi/crop',
    'sightline/v1/home/pi/door/status',
    'sightline/v1/home/pi/door/crop/more',
    'sightline/v2/home/pi/door/crop',
    'sightline/v10/home/pi/door/crop',
    'sightline/v1//pi/door/crop',
    'sightline/v1/home/../door/crop',
    'sightline/v1/home/pi/дверь/crop',
    'sightline/v1/home/-pi/door/crop',
    '/sightline/v1/home/pi/door/crop',
  ])
    t.equal(parseKeptTopic('sightline/v1', topic), undefined, topic)
})

t.test('names are safe in topics, keys, folders and pages', async (t) => {
  for (const good of ['a', '0', '_', 'Front-Door_2', 'x'.repeat(63)]) t.ok(isName(good), good)
  for (const bad of [
    '',
    '-a',
    '.',
    '..',
    'a.b',
    'a b',
    'a/b',
    'a\n',
    'a+',
    'ä',
    '<b>',
    'x'.repeat(64),
    5,
    null,
  ])
    t.notOk(isName(bad), JSON.stringify(bad))
})

t.test('a crop has one key: by site, device, camera and hour in UTC', async (t) => {
  const crop = cropMetadata({ id: '01935c5a-0000-7000-8000-000000000000' })
  t.equal(
    objectKey(crop, Date.parse('2026-11-20T13:59:59.999Z')),
    'home/pi/door/2026/11/20/13/01935c5a-0000-7000-8000-000000000000.jpg',
  )
  t.equal(
    objectKey(crop, Date.parse('2027-01-01T00:30:00+01:00')),
    'home/pi/door/2026/12/31/23/01935c5a-0000-7000-8000-000000000000.jpg',
  )
  t.match(objectKey(crop, 0), /\/1970\/01\/01\/00\//)
  t.match(objectKey(crop, 253_402_300_799_999), /\/9999\/12\/31\/23\//)
})

t.test('each kind that is kept is known by its topic and by its key', (t) => {
  const address = { site: 'home', device: 'pi-1', camera: 'door' }
  const atMs = Date.UTC(2026, 10, 20, 13)
  for (const kind of KINDS) {
    const topic = keptTopic('sightline/v1', kind, address)
    t.strictSame(parseKeptTopic('sightline/v1', topic), { kind, address })
    const key = objectKey({ ...address, id: newId() }, atMs, kind)
    t.equal(kindOfKey(key), kind)
    t.match(parseObjectKey(key), { ...address, day: '2026-11-20' })
  }
  t.equal(new Set(KINDS.map(({ name }) => name)).size, KINDS.length)
  t.equal(kindOfKey('gallery/index.json'), undefined)
  t.equal(parseObjectKey('home/pi-1/door/2026/11/20/13/x.exe'), undefined)
  t.end()
})
