import t from 'tap'
import { announcementLine, readBatch } from '../../wire/stored.ts'
import { storedOf } from '../console/api-server.ts'
import { makeCrop } from '../kit/crops.ts'

t.test('what an announcement says beside its key is what the key says', async (t) => {
  const { metadata, payload } = makeCrop({ site: 'north', device: 'pi', camera: 'gate' })
  const stored = storedOf(metadata, payload)
  const removed = { v: 1, is: 'removed', id: stored.id, key: stored.key, why: 'expired' } as const
  const other = makeCrop({}).metadata.id
  const read = (...lines: readonly Parameters<typeof announcementLine>[0][]) =>
    readBatch(Buffer.from(lines.map(announcementLine).join('')))
  t.equal(read(stored, removed).announcements.length, 2)
  const wrong = [
    { ...stored, site: 'south' },
    { ...stored, device: 'other' },
    { ...stored, camera: 'door' },
    { ...stored, id: other },
    { ...stored, key: `x/${stored.key}` },
    { ...stored, key: '../../etc/passwd' },
    { ...removed, id: other },
    { ...removed, key: 'gallery/index.json' },
  ]
  const { announcements, faults } = read(...wrong)
  t.strictSame(announcements, [])
  t.strictSame(
    faults.map(({ why }) => why),
    wrong.map(() => 'key: not what the key says'),
  )
})
