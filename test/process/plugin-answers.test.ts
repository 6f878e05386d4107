import t from 'tap'
import { FRAME_ATTRIBUTES_MAX } from '../../device/limits.ts'
import { readAttributes, readFrameSaid, readPicture } from '../../device/process/plugin-answers.ts'
import { ATTRIBUTES_MAX } from '../../wire/attributes.ts'
import { PLUGIN_EVENTS_MAX } from '../../wire/event.ts'

/** What is no answer is refused, with a sentence that says what is wrong. */

const whyNot = (read: () => unknown) => {
  try {
    read()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
const one = (more: object) => [{ name: 'a', label: 'b', score: 1, ...more }]

t.test('attributes', async (t) => {
  t.strictSame(readAttributes(undefined), [], 'nothing to say')
  t.strictSame(readAttributes(one({ by: 'somebody@else' })), one({}), 'nobody speaks for another')
  t.strictSame(readAttributes(one({ label: '<b>x</b>' })), one({ label: '<b>x</b>' }), 'markup is text')
  for (const [said, why] of [
    [Array(1e6).fill(one({})[0]), `gave 1000000 attributes at once; at most ${ATTRIBUTES_MAX} are taken`],
    [one({ name: 'a\u0007' }), 'attributes[0].name cannot be taken'],
    [one({ label: '\u202eb' }), 'attributes[0].label cannot be taken'],
    [one({ label: 'b'.repeat(1e6) }), 'attributes[0].label cannot be taken'],
    [one({ score: NaN }), 'attributes[0].score cannot be taken'],
    [one({ score: 99 }), 'attributes[0].score cannot be taken'],
    ['masked', 'attributes are a string, not a list'],
    [[() => 1], 'attributes[0] cannot be taken'],
  ] as const)
    t.ok(whyNot(() => readAttributes(said))?.includes(why), why)
})

t.test('of frames', async (t) => {
  t.strictSame(readFrameSaid(null, 0), { events: [], attributes: [] })
  const event = { name: 'dark', label: 'very', score: 0.9, data: { mean: 12, of: ['a', null] }, face: 1 }
  t.strictSame(readFrameSaid({ events: [event] }, 2).events, [event])
  const deep: unknown[] = []
  for (let at: unknown[] = deep, n = 0; n < 20_000; n += 1) at = at[at.push([]) - 1] as unknown[]
  for (const [said, why] of [
    [3, 'frame() gave a number'],
    [{ events: Array(5000).fill(event) }, `gave 5000 events at once; at most ${PLUGIN_EVENTS_MAX}`],
    [
      { attributes: Array(5000).fill({ ...one({})[0], face: 0 }) },
      `gave 5000 attributes at once; at most ${FRAME_ATTRIBUTES_MAX}`,
    ],
    [{ events: [{ ...event, face: 2 }] }, 'it speaks of face 2, but the frame has 0 to 1'],
    [{ events: [{ ...event, name: '' }] }, 'events[0].name'],
    [{ events: [{ ...event, data: 'x'.repeat(3000) }] }, "an event's data are 3002 bytes of JSON"],
    [{ events: [{ ...event, data: 1n }] }, 'events[0].data'],
    [{ events: [{ ...event, data: deep }] }, ''],
    [{ attributes: one({}) }, 'attributes[0].face'],
  ] as const)
    t.ok(whyNot(() => readFrameSaid(said, 2))?.includes(why), why)
})

t.test('pictures', async (t) => {
  t.equal(readPicture(new Uint8Array(12), 2, 2).length, 12)
  t.equal(
    whyNot(() => readPicture(new Uint8Array(11), 2, 2)),
    'Wrong answer: picture() gave 11 bytes, but an RGB picture of 2x2 has 12.',
  )
  for (const [said, is] of [
    [undefined, 'nothing'],
    [null, 'null'],
    ['x', 'a string'],
    [[1], 'a list'],
  ] as const)
    t.ok(whyNot(() => readPicture(said, 2, 2))?.includes(`gave ${is}`))
})
