import t from 'tap'
import { benchCrossings } from '../../bench/crossings.ts'

t.test('ten who cross, behind a pillar and past one another: one crop and one track of each', async (t) => {
  const result = await benchCrossings({ crossings: 10, everyNth: 2 })
  t.strictSame(result.cropsOf, new Array(10).fill(1))
  t.strictSame(result.tracksOf, new Array(10).fill(1))
  t.equal(result.wrongCrops, 0)
  t.ok(result.overlapMin >= 0.6, `a crop shows its face: ${result.overlapMin}`)
  t.ok(result.shownMin >= 0.8, `and all of it: ${result.shownMin}`)
  t.ok(result.detection.recall >= 0.99, `recall ${result.detection.recall}`)
  t.ok(result.detection.precision >= 0.99, `precision ${result.detection.precision}`)
  t.equal(result.detected, result.made + result.passedOver, 'the books balance')
  t.ok(result.crops.every(({ quality }) => quality && quality.total > 0.2))
  t.ok(result.events.length > 3 * result.made, 'events beside the crops')
})
