import t from 'tap'
import { EntryIndex } from '../../store/entry-index.ts'
import { seeded } from '../kit/wait.ts'

for (const seed of [1, 2, 3]) {
  t.test(`answers as a plain list would, whatever is asked of it (seed ${seed})`, async (t) => {
    const random = seeded(seed)
    const pick = (count: number) => Math.floor(random() * count)
    const index = new EntryIndex()
    let model: { sequence: number; bytes: number; atMs: number }[] = []
    let last = 0
    for (let step = 0; step < 6000; step += 1) {
      // Grows and shrinks in turn, so that slots are used again and gaps are closed.
      const growing = Math.floor(step / 1000) % 2 === 0
      if (random() < (growing ? 0.7 : 0.3)) {
        last += 1 + pick(3)
        const entry = { sequence: last, bytes: pick(2 ** 32), atMs: 1.8e12 + step }
        index.add(entry.sequence, entry.bytes, entry.atMs)
        model.push(entry)
      } else if (model.length > 0) {
        const at = random() < 0.5 ? 0 : pick(model.length)
        const { sequence, bytes } = model[at] as (typeof model)[number]
        if (index.remove(sequence) !== bytes) t.fail(`remove(${sequence})`)
        if (index.remove(sequence) !== undefined) t.fail(`remove(${sequence}) twice`)
        model = model.toSpliced(at, 1)
      }
      const asked = pick(last + 3)
      const entry = model.find(({ sequence }) => sequence === asked)
      const next = model.find(({ sequence }) => sequence > asked)
      const answers = [
        index.size === model.length,
        index.has(asked) === (entry !== undefined),
        index.timeOf(asked) === entry?.atMs,
        index.bytesOf(asked) === entry?.bytes,
        index.after(asked) === next?.sequence,
        index.after(0) === model[0]?.sequence,
      ]
      if (answers.includes(false)) t.fail(`step ${step}, ${asked}: ${answers.join(' ')}`)
    }
    const left: number[] = []
    for (let at = index.after(0); at !== undefined; at = index.after(at)) left.push(at)
    t.strictSame(
      left,
      model.map(({ sequence }) => sequence),
    )
  })
}

t.test('an empty index has nothing', async (t) => {
  const index = new EntryIndex()
  t.equal(index.after(0), undefined)
  t.equal(index.remove(1), undefined)
  t.equal(index.has(1), false)
})

for (const seed of [1, 2, 3]) {
  t.test(`lanes take turns, each in its order, and nothing is taken twice (seed ${seed})`, async (t) => {
    const random = seeded(seed)
    const pick = (count: number) => Math.floor(random() * count)
    const index = new EntryIndex()
    const lanes = new Map<string, number[]>() // untaken
    const entries = new Map<number, string>()
    let last = 0
    for (let step = 0; step < 8000; step += 1) {
      const what = random()
      if (what < 0.45) {
        last += 1
        const lane = `lane ${pick(5)}`
        index.add(last, 1000, 1.8e12, lane)
        entries.set(last, lane)
        lanes.set(lane, [...(lanes.get(lane) ?? []), last])
      } else if (what < 0.8) {
        const taken = index.take()
        const untaken = [...lanes.values()].flat()
        if (taken === undefined) {
          if (untaken.length > 0) t.fail(`step ${step}: nothing to take of ${untaken.length}`)
          continue
        }
        const lane = entries.get(taken) as string
        if (lanes.get(lane)?.shift() !== taken) t.fail(`step ${step}: ${taken} is not the oldest of its lane`)
      } else if (what < 0.99) {
        const sequence = [...entries.keys()][pick(entries.size)]
        if (sequence === undefined) continue
        const lane = entries.get(sequence) as string
        index.remove(sequence)
        entries.delete(sequence)
        lanes.set(lane, lanes.get(lane)?.filter((other) => other !== sequence) ?? [])
      } else {
        index.rewind()
        lanes.clear()
        for (const [sequence, lane] of entries) lanes.set(lane, [...(lanes.get(lane) ?? []), sequence])
      }
      const lane = `lane ${pick(5)}`
      const own = [...entries].filter(([, of]) => of === lane).map(([sequence]) => sequence)
      const known = index.lane(lane)
      if ((known?.entries ?? 0) !== own.length) t.fail(`step ${step}: ${known?.entries} of ${own.length}`)
      if (known && step % 50 === 0) t.strictSame([...index.ofLane(known)], own)
    }
  })
}

t.test('who sends little waits for one turn of each other lane, not for all that they have', async (t) => {
  const index = new EntryIndex()
  let sequence = 0
  for (let n = 0; n < 1000; n += 1) index.add(++sequence, 20_000, 1, 'noisy')
  index.take()
  index.add(++sequence, 20_000, 2, 'quiet')
  let before = 0
  while (index.take() !== sequence) before += 1
  t.ok(before <= 4, `${before} of the noisy lane went first`)
  t.equal(index.largestLane('bytes')?.name, 'noisy')
})
