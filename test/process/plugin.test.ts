import t from 'tap'
import { nobody, run, walk } from '../device/scripted.ts'
import { plug } from './plugged.ts'

const SAYS = 'test/process/plugins/says.ts'

t.test('what a plugin says of a face is in its crop, with the name and version of who says it', async (t) => {
  const { processing, meters } = await plug(t, [{ module: SAYS, settings: { label: 'oval' } }])
  const { crops } = await run([...walk(20), ...nobody(30, 2000)], {}, { processing, meters })
  t.equal(crops.length, 1)
  t.strictSame(crops[0]?.attributes, [{ name: 'shape', label: 'oval', score: 0.75, by: 'mine@1.2' }])
})
