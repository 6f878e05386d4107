import t from 'tap'
import { openMeters } from '../../device/meters.ts'
import type { Processing } from '../../device/process/processing.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { Attribute } from '../../wire/attributes.ts'
import { nobody, run, walk } from './scripted.ts'

/** The longest that there may be: each letter takes six bytes in a crop. */
const longest = (at: number): Attribute => ({
  name: `${at}`.padEnd(64, '名'),
  label: '標'.repeat(64),
  score: 0.123456789,
  by: '者'.repeat(160),
})

t.test('attributes that are too much for a crop are cut and counted; the crop goes out', async (t) => {
  const said = Array.from({ length: 40 }, (_, at) => longest(at))
  const registry = openMetrics('test')
  const points = Array.from({ length: 128 }, (_, at) => [100.5 + at, 100.5 + at] as const)
  const script = [...walk(20), ...nobody(30, 2000)].map((it) => ({
    ...it,
    faces: it.faces.map((face) => ({ ...face, landmarks: points })),
  }))
  const { crops, failed } = await run(
    script,
    {},
    {
      meters: openMeters(registry),
      processing: {
        attributes: async () => said,
        looksAt: () => true,
        wants: () => false,
        see: async () => {},
        looksOnly: true,
      } as unknown as Processing,
    },
  )
  t.equal(failed, undefined)
  t.equal(crops.length, 1)
  const attributes = crops[0]?.attributes ?? []
  t.ok(attributes.length > 20 && attributes.length <= 32, `${attributes.length}`)
  t.strictSame(attributes, said.slice(0, attributes.length), 'the first ones first')
  t.match(
    await registry.metrics(),
    new RegExp(`sightline_attributes_cut_total\\{camera="door"[^}]*\\} ${40 - attributes.length}\n`),
  )
})
