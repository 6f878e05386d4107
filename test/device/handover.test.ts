import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Handover } from '../../device/faces/handover.ts'

class Thing implements Disposable {
  static disposed: number[] = []
  readonly number: number
  constructor(number: number) {
    this.number = number
  }
  [Symbol.dispose]() {
    Thing.disposed.push(this.number)
  }
}

t.beforeEach(() => {
  Thing.disposed = []
})

t.test('where every thing counts, the giver waits and all arrive in order', async (t) => {
  const handover = new Handover<Thing>(2)
  const taken: number[] = []
  let given = 0
  let aheadMax = 0
  const taking = (async () => {
    for (let it = await handover.take(); it; it = await handover.take()) {
      taken.push(it.number)
      await sleep(1)
    }
  })()
  for (let i = 0; i < 20; i += 1) {
    given += 1
    aheadMax = Math.max(aheadMax, given - taken.length)
    await handover.put(new Thing(i))
  }
  handover.close()
  await taking
  t.equal(aheadMax, 2, 'so many wait, and no more')
  t.strictSame(taken, [...Array(20).keys()])
  t.strictSame(Thing.disposed, [])
})

t.test('where only the newest counts, the giver never waits and what made way is disposed of', async (t) => {
  const passedOver: number[] = []
  const handover = new Handover<Thing>(1, (it) => passedOver.push(it.number))
  for (let i = 0; i < 5; i += 1) await handover.put(new Thing(i))
  t.equal((await handover.take())?.number, 4)
  t.strictSame(passedOver, [0, 1, 2, 3])
  t.strictSame(Thing.disposed, [0, 1, 2, 3])
})

t.test('what nobody took is disposed of, and a giver or taker that waits is let go', async (t) => {
  const handover = new Handover<Thing>(1)
  const giving = handover.put(new Thing(1))
  handover[Symbol.dispose]()
  await giving
  t.equal(await handover.take(), undefined)
  await handover.put(new Thing(2))
  t.strictSame(Thing.disposed, [1, 2])
})
