import fc from 'fast-check'
import { sql } from 'kysely'
import type { Test } from 'tap'
import {
  cameraIdOf,
  clipsOf,
  facesWithin,
  keptOf,
  markLost,
  movedWithin,
  recordedCameras,
  stretchesWithin,
  sumWithin,
} from '../../console/database/clips.ts'
import { Database, type DatabaseOptions } from '../../console/database/database.ts'
import type { DetectionFilter } from '../../console/database/detection.ts'
import { EVERYTHING, inScope, type Scope } from '../../console/database/scope.ts'
import { HOUR_COLUMNS } from '../../console/database/tables.ts'
import { idMinter, newId } from '../../wire/id.ts'
import { CLIP } from '../../wire/kinds.ts'
import type { Announcement, StoredClip, StoredCrop } from '../../wire/stored.ts'
import { makeRemoved, makeStored, makeStoredClip } from '../kit/announcements.ts'
import { seeded } from '../kit/wait.ts'

/** What every engine must do. */
export interface DatabaseFactory {
  /** A place of its own, empty. */
  place(t: Test): Promise<DatabaseOptions>
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOON = Date.UTC(2026, 5, 10, 12)

export function databaseContract(t: Test, { place }: DatabaseFactory): void {
  const open = async (t: Test) => {
    const database = await Database.open(await place(t))
    t.teardown(() => database[Symbol.asyncDispose]())
    return database
  }

  t.test('what is read is what was announced', async (t) => {
    const database = await open(t)
    const full = makeStored({
      filedAtMs: NOON + 7,
      capturedAtMs: NOON,
      clockSane: false,
      box: [1.5, 2.25, 30.75, 40],
      score: 0.123456789,
      track: newId(),
      masked: true,
      quality: { total: 0.5, size: 0.25, sharpness: 1, frontality: 0 },
      file: 'Émile\'s "photo" <1>.JPG',
      attributes: [{ name: 'glasses', label: 'yes', score: 0.75 }],
    })
    const bare = makeStored({ filedAtMs: NOON, key: 'home/pi/door/2026/06/10/12/of-another-layout.jpg' })
    const { added } = await database.apply([full, bare], 'north')
    for (const stored of [full, bare]) {
      const { v, is, kind, filedAtMs, attributes = [], ...rest } = stored
      const expected = { ...rest, atMs: filedAtMs, attributes, subscriber: 'north' }
      t.strictSame(await database.detection(stored.id, EVERYTHING), expected)
      t.strictSame(
        added.find(({ id }) => id === stored.id),
        expected,
      )
    }
    t.equal(await database.detection(newId(), EVERYTHING), undefined)
  })

  t.test('any order and repetition of announcements gives the same tables', async (t) => {
    const database = await open(t)
    const mint = idMinter(() => NOON)
    const tracks = [mint(), mint()]
    const all: StoredCrop[] = Array.from({ length: 12 }, (_, n) =>
      makeStored({
        id: mint(),
        camera: `c${n % 3}`,
        // Of each camera: firsts and bests of two tracks, some of which are removed.
        track: tracks[n % 2],
        shot: n < 6 ? 'best' : 'first',
        filedAtMs: NOON - (n % 4) * DAY_MS + n * 1000,
        ...(n % 3 > 0 && { masked: n % 3 === 1 }),
        ...(n % 2 === 0 && { attributes: [{ name: 'hat', label: n % 4 === 0 ? 'red' : 'blue', score: 1 }] }),
      }),
    )
    const removals: Announcement[] = [
      makeRemoved(all[0] as StoredCrop),
      makeRemoved(all[1] as StoredCrop, 'expired'),
      makeRemoved(all[1] as StoredCrop, 'forgotten'),
      makeRemoved(all[5] as StoredCrop, 'expired'),
      makeRemoved({ id: newId(), key: 'never/seen/here.jpg' }),
      { v: 1, is: 'expired', filedBeforeMs: NOON - 2 * DAY_MS - HOUR_MS },
      { v: 1, is: 'expired', filedBeforeMs: NOON - 10 * DAY_MS },
    ]
    const events: Announcement[] = [...all, ...removals]
    const play = async (order: readonly Announcement[], batch: number) => {
      await wipe(database)
      for (let at = 0; at < order.length; at += batch)
        await database.apply(order.slice(at, at + batch), 'north')
      await database.swept()
      await agrees(t, database)
      return dump(database)
    }
    const expected = await play(events, 100)
    t.equal(expected.detections?.length, 12 - 3 - 3, 'three were removed one by one, three have expired')
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([...events, ...events], { minLength: events.length * 2 }),
        fc.integer({ min: 1, max: 8 }),
        async (order, batch) => {
          t.strictSame(await play(order, batch), expected)
        },
      ),
      { numRuns: 8 },
    )
  })

  t.test(
    'a best picture hides the first of its track, from searches and counts, as long as it is there',
    async (t) => {
      const database = await open(t)
      const track = newId()
      const of = (shot: 'first' | 'best', atMs: number, settings: Partial<StoredCrop> = {}) =>
        makeStored({
          filedAtMs: atMs,
          capturedAtMs: atMs,
          track,
          shot,
          attributes: [{ name: 'hat', label: shot, score: 1 }],
          ...settings,
        })
      const first = of('first', NOON)
      const best = of('best', NOON + 4000)
      const elsewhere = of('first', NOON + 1, { camera: 'yard' })
      const shown = async (filter: DetectionFilter) =>
        (await database.page({ filter, scope: EVERYTHING, limit: 50 })).detections.map(({ id }) => id)
      const total = async () =>
        (
          await database.totals({
            scope: EVERYTHING,
            fromMs: NOON,
            beforeMs: NOON + 1,
            by: 'day',
            timeZone: 'UTC',
          })
        ).count
      await database.apply([first, elsewhere], 'north')
      await database.review('anna', [first.id], EVERYTHING, NOON)
      t.strictSame(await shown({}), [elsewhere.id, first.id])
      t.equal(await total(), 2)

      await database.apply([best], 'north')
      const door = { cameras: ['home/pi/door'] }
      const hat = { attribute: { name: 'hat' } }
      const reviewed = { reviewed: { by: 'anna', is: true } }
      t.strictSame(
        await shown({}),
        [best.id, elsewhere.id],
        'of that camera: another says nothing of this track',
      )
      t.strictSame(await shown(door), [best.id])
      t.strictSame(await shown(hat), [best.id, elsewhere.id])
      t.strictSame(await shown({ track }), [best.id, elsewhere.id])
      t.strictSame(await shown(reviewed), [])
      t.equal(await total(), 2)
      for (const filter of [{}, hat, { track }])
        t.strictSame(await shown({ ...filter, superseded: true }), [best.id, elsewhere.id, first.id])
      t.strictSame(await shown({ ...door, superseded: true }), [best.id, first.id])
      t.strictSame(await shown({ ...reviewed, superseded: true }), [first.id])
      t.match(await database.detection(first.id, EVERYTHING), { superseded: true, shot: 'first' })
      t.equal((await database.newest(EVERYTHING)).find(({ camera }) => camera === 'door')?.id, best.id)

      await database.apply([makeRemoved(best)], 'north')
      t.strictSame(await shown({}), [elsewhere.id, first.id], 'without it the first shows again')
      t.strictSame(await shown(reviewed), [first.id])
      t.strictSame(await shown(hat), [elsewhere.id, first.id])
      t.equal(await total(), 2)

      const tomorrow = of('best', NOON + DAY_MS)
      await database.apply([tomorrow], 'north')
      const days = await database.days('home/pi/door')
      t.strictSame(
        [...days].sort(),
        [NOON, NOON + DAY_MS].map((ms) => Math.floor(ms / DAY_MS)),
        'it is there',
      )
      await agrees(t, database)
      await database.apply([makeRemoved(first)], 'north')
      await agrees(t, database)
      t.strictSame(await shown({ superseded: true }), [tomorrow.id, elsewhere.id])
    },
  )

  t.test('recordings: any order and repetition gives the same, and sums say what rows say', async (t) => {
    const database = await open(t)
    const mint = idMinter(() => NOON)
    const run = newId()
    const clips = Array.from({ length: 10 }, (_, n) =>
      makeStoredClip({
        id: mint(),
        camera: `c${n % 2}`,
        capturedAtMs: NOON - DAY_MS + n * DAY_MS * 0.3,
        run,
        sequence: n,
        ...(n === 4 && { gap: { fromMs: null, why: 'camera down' as const }, motion: 0.25, faces: 3 }),
        ...(n === 5 && { signer: 'ab'.repeat(32), previous: 'cd'.repeat(32), rotation: 90 as const }),
        ...(n === 6 && { audio: { codec: 'aac' as const, sampleRate: 48_000, channels: 2 } }),
      }),
    )
    const [first, second] = clips as [StoredClip, StoredClip]
    const kept = (atMs: number, toMs: number): Announcement => ({
      v: 1,
      is: 'kept',
      site: first.site,
      device: first.device,
      camera: 'c0',
      atMs,
      stretches: [{ fromMs: 0, toMs, by: 'anna', atMs }],
    })
    const events: Announcement[] = [
      ...clips,
      { v: 1, is: 'removed', id: first.id, key: first.key, why: 'expired' },
      { v: 1, is: 'removed', id: second.id, key: second.key, why: 'forgotten' },
      kept(NOON, 1),
      kept(NOON + 1, 2),
      // Of crops alone.
      { v: 1, is: 'expired', filedBeforeMs: NOON + 30 * DAY_MS },
    ]
    const TABLES = ['clips', 'clip_days', 'keeps', 'removed', 'horizons'] as const
    const play = async (order: readonly Announcement[], batch: number) => {
      for (const table of TABLES) await sql`delete from ${sql.table(table)}`.execute(database.write)
      for (let at = 0; at < order.length; at += batch)
        await database.apply(order.slice(at, at + batch), 'north')
      await database.swept()
      const names = new Map(
        (await database.write.selectFrom('cameras').selectAll().execute()).map((it) => [it.id, it.camera]),
      )
      const rows: string[] = []
      for (const table of ['clips', 'clip_days', 'keeps'] as const)
        for (const row of (
          await sql<{ camera_id: number }>`select * from ${sql.table(table)}`.execute(database.write)
        ).rows)
          rows.push(`${table} ${JSON.stringify({ ...row, camera_id: names.get(row.camera_id) })}`)
      return rows.sort()
    }
    const expected = await play(events, 100)
    t.equal(expected.filter((row) => row.startsWith('clips ')).length, 8)
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([...events, ...events], { minLength: events.length * 2 }),
        fc.integer({ min: 1, max: 8 }),
        async (order, batch) => {
          t.strictSame(await play(order, batch), expected)
        },
      ),
      { numRuns: 4 },
    )
    const ids = clips.map(({ id }) => id)
    for (const clip of await clipsOf(database.read, ids)) {
      const { v, is, kind, filedAtMs, rotation, audio, gap, faces, motion, signer, previous, ...stored } =
        clips.find(({ id }) => id === clip.id) as StoredClip
      t.match(clip, { ...stored, atMs: filedAtMs, subscriber: 'north', isLost: false })
      const { rotation: r, audio: a, gap: g, faces: f, motion: m, signer: s, previous: p } = clip
      t.strictSame([r, a, g, f, m, s, p], [rotation, audio, gap, faces, motion, signer, previous])
    }
    const sums = await recordedCameras(database.read, EVERYTHING)
    t.equal(
      sums.reduce((sum, it) => sum + it.clips, 0),
      8,
    )
    t.strictSame(await recordedCameras(database.read, { all: false, sites: ['none'], cameras: [] }), [])
    const camera = { site: first.site, device: first.device, camera: 'c0' }
    const id = (await cameraIdOf(database.read, camera, EVERYTHING)) as number
    t.match(await keptOf(database.read, id), [{ toMs: 2 }], 'the later one holds')
    t.same((await database.which(ids)).size, 8)
    const objects = await Array.fromAsync(
      database.objects(`${first.site}/${first.device}/c0`, 0, NOON + 99 * DAY_MS, CLIP),
    )
    t.strictSame(
      objects.map(({ key }) => key),
      clips.filter(({ camera, id }) => camera === 'c0' && id !== first.id).map(({ key }) => key),
    )
  })

  t.test('recordings: stretches join what follows, and tell what does not', async (t) => {
    const database = await open(t)
    const [run, other] = [newId(), newId()]
    const at = (second: number, sequence: number, more: Partial<StoredClip> = {}) =>
      makeStoredClip({ run, sequence, capturedAtMs: NOON + second * 1000, ...more })
    const all = [
      at(0, 0, { motion: 0.1, faces: 1 }),
      at(3, 1, { motion: 0.9 }),
      at(9, 3),
      // A new run that follows at once.
      at(12, 0, { run: other }),
      at(16, 1, { run: other, gap: { fromMs: NOON + 15_000, why: 'paused' } }),
    ]
    await database.apply(all, 'north')
    const [one] = all as [StoredClip]
    const id = (await cameraIdOf(database.read, one, EVERYTHING)) as number
    const span = { fromMs: NOON - 1000, beforeMs: NOON + 60_000 }
    t.match(await stretchesWithin(database.read, id, span, 0), [
      { fromMs: NOON, toMs: NOON + 6000, clips: 2, gapWhy: null },
      { fromMs: NOON + 9000, toMs: NOON + 15_000, clips: 2, gapWhy: null },
      { fromMs: NOON + 16_000, toMs: NOON + 19_000, clips: 1, gapWhy: 'paused' },
    ])
    t.equal((await stretchesWithin(database.read, id, span, 5000)).length, 1, 'short gaps are passed over')
    t.strictSame(await movedWithin(database.read, id, span, 10_000), [{ slot: 0, motion: 0.9, faces: 1 }])
    const mint = idMinter(() => NOON)
    await database.apply(
      [0, 1, 2, 30].map((second) =>
        makeStored({
          site: one.site,
          device: one.device,
          camera: one.camera,
          id: mint(),
          filedAtMs: NOON + second * 1000,
        }),
      ),
      'north',
    )
    t.match(await facesWithin(database.read, id, span, 10_000), [
      { atMs: NOON, count: 3 },
      { atMs: NOON + 30_000, count: 1 },
    ])
    await markLost(database.write, [one.id], NOON)
    t.match(await stretchesWithin(database.read, id, span, 0), [{ fromMs: NOON + 3000, clips: 1 }])
    t.match(await sumWithin(database.read, id, span), { clips: 5, subscribers: ['north'] })
  })

  t.test('each detection is new once, however many announce it at the same time', async (t) => {
    const database = await open(t)
    const all = Array.from({ length: 40 }, (_, n) => makeStored({ filedAtMs: NOON + n }))
    const applied = await Promise.all(
      Array.from({ length: 6 }, (_, n) => database.apply(n % 2 === 0 ? all : all.toReversed(), 'north')),
    )
    t.equal(applied.flatMap(({ added }) => added).length, all.length)
    t.equal(
      applied.reduce((sum, { repeated }) => sum + repeated, 0),
      5 * all.length,
    )
    await agrees(t, database)
  })

  t.test('a batch that fails leaves nothing behind', async (t) => {
    const database = await open(t)
    await sql`drop table days`.execute(database.write)
    await t.rejects(database.apply([makeStored()], 'north'), { code: 'DATABASE_REFUSED' })
    t.strictSame((await database.page({ filter: {}, scope: EVERYTHING, limit: 10 })).detections, [])
    t.strictSame(await database.cameras(EVERYTHING), [])
  })

  t.test('what was removed comes back only where the bucket is seen to have it', async (t) => {
    const database = await open(t)
    const stored = makeStored()
    t.strictSame((await database.apply([stored, makeRemoved(stored)], 'north')).removed, [])
    t.strictSame((await database.apply([stored], 'north')).added, [])
    t.equal((await database.restore([stored], 'north')).added.length, 1)
    t.strictSame((await database.apply([makeRemoved(stored)], 'north')).removed, [stored.id])
  })

  t.test('what expires is deleted, of that subscriber alone, and is not counted any more', async (t) => {
    const database = await open(t)
    const old = Array.from({ length: 2500 }, (_, n) => makeStored({ filedAtMs: NOON - 3 * DAY_MS + n }))
    const young = makeStored({ filedAtMs: NOON })
    const others = makeStored({ filedAtMs: NOON - 3 * DAY_MS })
    await database.apply([...old, young], 'north')
    await database.apply([others], 'south')
    await database.apply([{ v: 1, is: 'expired', filedBeforeMs: NOON - DAY_MS }], 'north')
    await database.swept()
    const { detections } = await database.page({ filter: {}, scope: EVERYTHING, limit: 10 })
    t.strictSame(ids(detections), [young.id, others.id])
    await agrees(t, database)
  })

  t.test(
    'attributes that are there can be chosen from, of what one sees, and go with their last face',
    async (t) => {
      const database = await open(t)
      const plates = Array.from({ length: 60 }, (_, n) => `B ${String(n).padStart(2, '0')}`)
      const attributes = (name: string, label: string) => ({ attributes: [{ name, label, score: 0.9 }] })
      const gate = { site: 'north', device: 'pi', camera: 'gate' }
      const yard = { site: 'south', device: 'pi', camera: 'yard' }
      const stored = [
        makeStored({ ...gate, ...attributes('mask', 'with mask') }),
        makeStored({ ...gate, ...attributes('mask', 'with mask') }),
        makeStored({ ...yard, ...attributes('mask', 'without mask') }),
        makeStored({ ...yard, ...attributes('<b>&', '=1+1') }),
        ...plates.map((label) => makeStored({ ...gate, ...attributes('plate', label) })),
      ]
      await database.apply(stored, 'cloud')
      const mask = { name: 'mask', labels: ['with mask', 'without mask'], more: false }
      const plate = { name: 'plate', labels: plates.slice(0, 50), more: true }
      t.strictSame(await database.attributes(EVERYTHING), [
        { name: '<b>&', labels: ['=1+1'], more: false },
        mask,
        plate,
      ])
      t.strictSame(await database.attributes({ all: false, sites: ['north'], cameras: [] }), [
        { ...mask, labels: ['with mask'] },
        plate,
      ])
      t.strictSame(await database.attributes({ all: false, sites: [], cameras: [] }), [])
      await database.apply(
        stored.filter((_, n) => n > 0).map((it) => makeRemoved(it)),
        'cloud',
      )
      t.strictSame(await database.attributes(EVERYTHING), [{ ...mask, labels: ['with mask'] }])
      t.strictSame(
        await database.read.selectFrom('attributes').select('label').execute(),
        [{ label: 'with mask' }],
        'and nothing of them is left',
      )
    },
  )

  t.test('a page of any filter has what that filter takes, in order, and no other', async (t) => {
    const database = await open(t)
    const { all, reviewed } = await furnish(database)
    const scopes: Scope[] = [
      EVERYTHING,
      { all: false, sites: ['s1'], cameras: ['s0/d0/c0'] },
      { all: false, sites: [], cameras: ['s2/d0/c2'] },
      { all: false, sites: [], cameras: [] },
    ]
    const maybe = <Value>(values: readonly Value[]) =>
      fc.option(fc.constantFrom(...values), { nil: undefined, freq: 2 })
    const filters = fc.record({
      fromMs: maybe([NOON - 40 * HOUR_MS, NOON - 3 * HOUR_MS]),
      beforeMs: maybe([NOON, NOON - 20 * HOUR_MS]),
      sites: maybe([['s0'], ['s1', 's2'], ['unknown']]),
      devices: maybe([['s0/d0'], ['s1/d1', 's2/d0']]),
      cameras: maybe([['s0/d0/c0', 's1/d1/c1']]),
      track: maybe([all[5]?.track, newId()]),
      masked: maybe([true, false, null]),
      attribute: maybe<NonNullable<DetectionFilter['attribute']>>([
        { name: 'hat' },
        { name: 'hat', label: 'red' },
        { name: 'hat', scoreMin: 0.3 },
        { name: 'hat', label: 'none', scoreMin: 0.3 },
        { name: 'hat:red', scoreMin: 0.5, or: [{ name: 'hat', label: 'red' }] },
        { name: 'plate' },
        { name: 'plate', scoreMin: 0.5 },
        { name: 'beard' },
      ]),
      scoreMin: maybe([0.5, 0.99]),
      scoreMax: maybe([0.6]),
      sizeMin: maybe([100, 5000]),
      reviewed: maybe([
        { by: 'anna', is: true },
        { by: 'anna', is: false },
        { by: 'nobody', is: true },
      ]),
      file: maybe(['HOTO_1', '100%', '_', 'none']),
      zone: maybe(['door', 'Door', 'oor', 'till']),
    })
    const takes = (filter: DetectionFilter, scope: Scope) =>
      all
        .filter((it) => inScope(scope, it) && matches(it, filter, reviewed))
        .sort((a, b) => b.filedAtMs - a.filedAtMs || (a.id < b.id ? 1 : -1))
        .map(({ id }) => id)
    await fc.assert(
      fc.asyncProperty(
        filters,
        fc.constantFrom(...scopes),
        fc.constantFrom(7, 500),
        fc.boolean(),
        async (given, scope, limit, newer) => {
          const filter = Object.fromEntries(
            Object.entries(given).filter(([, value]) => value !== undefined),
          ) as DetectionFilter
          const expected = takes(filter, scope)
          const found: string[] = []
          let cursor: string | undefined = newer ? `0.${all[0]?.id}` : undefined
          for (let pages = 0; pages < 3; pages += 1) {
            const page = await database.page({
              filter,
              scope,
              limit,
              searchMsMax: 60_000,
              ...(cursor !== undefined && (newer ? { after: cursor } : { before: cursor })),
            })
            if (newer) found.unshift(...ids(page.detections))
            else found.push(...ids(page.detections))
            cursor = page.next
            if (cursor === undefined) break
          }
          const shown = Math.min(expected.length, 3 * limit)
          t.strictSame(found, newer ? expected.slice(expected.length - shown) : expected.slice(0, shown))
        },
      ),
      { numRuns: 60 },
    )
  })

  t.test(
    'a search that finds nothing for a while says how far it looked, and comes to the end',
    async (t) => {
      const database = await open(t)
      const { all } = await furnish(database)
      const filter = { scoreMin: 2 }
      const first = await database.page({ filter, scope: EVERYTHING, limit: 10, searchMsMax: 0 })
      t.strictSame(first.detections, [])
      t.ok(first.next, 'there is more to look at')
      const searchedTo = first.searchedToMs as number
      const newer = all.filter(({ filedAtMs }) => filedAtMs >= searchedTo)
      t.ok(newer.length >= 2000 && newer.length < all.length, `${newer.length} of ${all.length}`)
      let pages = 0
      for (let next = first.next; next !== undefined; pages += 1)
        next = (await database.page({ filter, scope: EVERYTHING, limit: 10, searchMsMax: 0, before: next }))
          .next
      t.ok(pages > 0 && pages < 10, `${pages} more pages`)
      const { next, searchedToMs } = await database.page({
        filter,
        scope: EVERYTHING,
        limit: 10,
        searchMsMax: 60_000,
      })
      t.strictSame([next, searchedToMs], [undefined, undefined])
      // What stands where the first step ends (2000 entries) is not passed over.
      const sorted = all.toSorted((a, b) => b.filedAtMs - a.filedAtMs || (a.id < b.id ? 1 : -1))
      const score = sorted[1999]?.score as number
      const page = await database.page({
        filter: { scoreMin: score, scoreMax: score },
        scope: EVERYTHING,
        limit: 500,
        searchMsMax: 60_000,
      })
      t.strictSame(ids(page.detections), ids(sorted.filter((it) => it.score === score)))
    },
  )

  t.test('an export has everything once, whatever its size', async (t) => {
    const database = await open(t)
    const { all } = await furnish(database)
    const seen: string[] = []
    for await (const page of database.export({ sites: ['s1', 's0'] }, EVERYTHING)) seen.push(...ids(page))
    const expected = all.filter(({ site }) => site !== 's2')
    t.equal(seen.length, expected.length)
    t.equal(new Set(seen).size, seen.length)
  })

  t.test('who is confined sees nothing of other cameras, by whatever way', async (t) => {
    const database = await open(t)
    const track = newId()
    const mine = makeStored({ site: 'a', device: 'd', camera: 'mine', track, filedAtMs: NOON })
    const sites = makeStored({ site: 'b', device: 'd', camera: 'x', track, filedAtMs: NOON + 1 })
    const foreign = makeStored({ site: 'a', device: 'd', camera: 'theirs', track, filedAtMs: NOON + 2 })
    await database.apply([mine, sites, foreign], 'north')
    const scope: Scope = { all: false, sites: ['b'], cameras: ['a/d/mine'] }
    const both = [sites.id, mine.id]
    t.equal((await database.detection(mine.id, scope))?.id, mine.id)
    t.equal((await database.detection(sites.id, scope))?.id, sites.id)
    t.equal(await database.detection(foreign.id, scope), undefined)
    t.strictSame(ids(await database.track(track, scope)), both.toReversed())
    t.strictSame(ids((await database.page({ filter: {}, scope, limit: 9 })).detections), both)
    t.strictSame(
      (await database.page({ filter: { cameras: ['a/d/theirs'] }, scope, limit: 9 })).detections,
      [],
    )
    t.strictSame(ids(await database.newest(scope)), both)
    t.strictSame(
      (await database.cameras(scope)).map(({ camera }) => camera),
      ['mine', 'x'],
    )
    const beside = await database.neighbours({ id: sites.id, atMs: NOON + 1 }, {}, scope)
    t.strictSame([beside.newer, beside.older?.id], [undefined, mine.id])
    const range = { fromMs: NOON, beforeMs: NOON + 1, by: 'day', timeZone: 'UTC' } as const
    t.equal((await database.counts({ ...range, scope }))[0]?.count, 2)
    t.strictSame(
      (await database.counts({ ...range, scope, split: 'camera' })).map(({ camera }) => camera).sort(),
      ['a/d/mine', 'b/d/x'],
    )
    t.equal((await database.totals({ ...range, scope })).count, 2)
    t.equal(await database.review('anna', [mine.id, foreign.id], scope, NOON), 1)
    t.equal(await database.review('anna', [mine.id, foreign.id], scope, NOON), 0, 'once')
    t.strictSame([...(await database.reviewed('anna', [mine.id, foreign.id]))], [mine.id])
    t.equal((await database.reviewed('bert', [mine.id])).size, 0)
    t.equal(await database.unreview('anna', [mine.id, foreign.id]), 1)
    const nothing: Scope = { all: false, sites: [], cameras: [] }
    t.strictSame((await database.page({ filter: {}, scope: nothing, limit: 9 })).detections, [])
    t.equal((await database.counts({ ...range, scope: nothing }))[0]?.count, 0)
    t.equal(await database.review('anna', [mine.id], nothing, NOON), 0)
  })

  t.test('a person may be confined to a thousand cameras and a thousand sites', async (t) => {
    const database = await open(t)
    const stored = makeStored({ site: 's999', camera: 'c' })
    await database.apply([stored, makeStored({ site: 'other' })], 'north')
    const thousand = Array.from({ length: 1000 }, (_, n) => n)
    const scope: Scope = {
      all: false,
      sites: thousand.map((n) => `s${n}`),
      cameras: thousand.map((n) => `x/y/c${n}`),
    }
    t.strictSame(ids((await database.page({ filter: {}, scope, limit: 9 })).detections), [stored.id])
  })

  t.test('days, weeks and months begin when they do in a time zone, also where clocks change', async (t) => {
    const database = await open(t)
    const random = seeded(3)
    const fromMs = Date.UTC(2026, 1, 20)
    const all = Array.from({ length: 3000 }, (_, n) =>
      makeStored({
        camera: `c${n % 3}`,
        filedAtMs: fromMs + Math.floor(random() * 60 * DAY_MS),
        ...(n % 4 === 0 && { masked: n % 8 === 0 }),
      }),
    )
    await database.apply(all, 'north')
    const beforeMs = fromMs + 60 * DAY_MS
    for (const timeZone of ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo', 'Pacific/Auckland'])
      for (const by of ['hour', 'day', 'week', 'month'] as const) {
        const label = labeller(timeZone, by)
        const expected = tally(all.map(({ filedAtMs }) => label(filedAtMs)))
        const counts = await database.counts({ scope: EVERYTHING, fromMs, beforeMs, by, timeZone })
        t.strictSame(
          tally(counts.flatMap(({ fromMs, count }) => new Array<string>(count).fill(label(fromMs)))),
          expected,
          `${by} in ${timeZone}`,
        )
        t.equal(
          new Set(counts.map(({ fromMs }) => label(fromMs))).size,
          counts.length,
          `each ${by} once in ${timeZone}`,
        )
      }
    const day = { scope: EVERYTHING, fromMs, beforeMs, by: 'month', timeZone: 'Europe/Berlin' } as const
    const split = await database.counts({ ...day, split: 'masked' })
    for (const masked of [true, false, null])
      t.equal(
        split.filter((it) => it.masked === masked).reduce((sum, { count }) => sum + count, 0),
        all.filter((it) => (it.masked ?? null) === masked).length,
      )
    const totals = await database.totals(day)
    t.strictSame(totals, { count: 3000, masked: 375, unmasked: 375 })
    await t.rejects(database.counts({ ...day, by: 'hour', beforeMs: fromMs + 800 * DAY_MS }), {
      code: 'TOO_MANY',
    })
  })

  t.test('nobody changes or deletes a row of the audit log', async (t) => {
    const database = await open(t)
    const row = { id: newId(), at_ms: NOON, user: 'anna', by: 'session', address: null, details_json: null }
    const insert = (subject: string) =>
      database.write
        .insertInto('audit')
        .values({ ...row, action: 'sign-in', subject })
        .execute()
    await insert('anna')
    const refused = { code: 'DATABASE_REFUSED', message: /only grows/ }
    await t.rejects(database.write.updateTable('audit').set({ user: 'bert' }).execute(), refused)
    await t.rejects(database.write.deleteFrom('audit').execute(), refused)
    if (database.engine === 'sqlite')
      await t.rejects(
        database.write
          .replaceInto('audit')
          .values({ ...row, action: 'sign-in', subject: 'bert' })
          .execute(),
        refused,
      )
    else await t.rejects(sql`truncate audit`.execute(database.write), refused)
    await t.rejects(insert('bert'))
    t.strictSame(
      (await database.read.selectFrom('audit').selectAll().execute()).map(({ subject }) => subject),
      ['anna'],
    )
  })

  t.test(
    'it is found as it was left, and two programs that start at once make the tables once',
    async (t) => {
      const options = await place(t)
      const stored = makeStored()
      {
        const both = await Promise.all([Database.open(options), Database.open(options)])
        await both[0].apply([stored], 'north')
        t.equal((await both[1].detection(stored.id, EVERYTHING))?.id, stored.id)
        for (const database of both) await database[Symbol.asyncDispose]()
      }
      await using database = await Database.open(options)
      t.equal((await database.detection(stored.id, EVERYTHING))?.id, stored.id)
      t.equal(database.damage, undefined)
      t.equal(await database.ailment(), undefined)
    },
  )

  t.test('a schema newer than the program is refused and left as it is', async (t) => {
    const options = await place(t)
    {
      await using database = await Database.open(options)
      await sql`insert into kysely_migration (name, timestamp) values ('9999-future', 'later')`.execute(
        database.write,
      )
    }
    await t.rejects(Database.open(options), { code: 'DATABASE_NEWER', message: /9999-future/ })
  })
}

const ids = (detections: readonly { readonly id: string }[]) => detections.map(({ id }) => id)

/** Some thousand detections of every kind. */
async function furnish(
  database: Database,
): Promise<{ all: readonly StoredCrop[]; reviewed: ReadonlySet<string> }> {
  const random = seeded(11)
  const mint = idMinter(() => NOON)
  const tracks = Array.from({ length: 50 }, () => newId())
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  const all = Array.from({ length: 5000 }, (_, n) =>
    makeStored({
      id: mint(),
      site: `s${n % 3}`,
      device: `d${n % 2}`,
      camera: `c${n % 3}`,
      // Many at the same moment, so that the id decides.
      filedAtMs: NOON - Math.floor(random() * 600) * 5 * 60_000,
      score: Math.round(random() * 100) / 100,
      box: [0, 0, Math.round(random() * 200), Math.round(random() * 200)],
      ...(random() < 0.3 && { masked: random() < 0.5 }),
      ...(random() < 0.7 && { track: pick(tracks) }),
      ...(random() < 0.2 && {
        attributes: [
          { name: 'hat', label: pick(['red', 'blue']), score: 0.5 },
          ...(random() < 0.3 ? [{ name: 'hat', label: 'none', score: 0.1 }] : []),
          // More labels than a search goes along at once.
          ...(random() < 0.3 ? [{ name: 'plate', label: `B ${n}`, score: random() }] : []),
        ],
      }),
      ...(random() < 0.5 && { zones: pick([[], ['door'], ['Door', 'till'], ['back-door', 'till']]) }),
      ...(random() < 0.2 && { file: pick([`Photo_${n}.jpg`, `PHOTO ${n}.jpg`, `100% ${n}.png`]) }),
    }),
  )
  for (let at = 0; at < all.length; at += 1000) await database.apply(all.slice(at, at + 1000), 'north')
  const reviewed = new Set(all.filter(() => random() < 0.2).map(({ id }) => id))
  const marks = [...reviewed]
  for (let at = 0; at < marks.length; at += 500)
    await database.review('anna', marks.slice(at, at + 500), EVERYTHING, NOON)
  return { all, reviewed }
}

function matches(it: StoredCrop, filter: DetectionFilter, reviewed: ReadonlySet<string>): boolean {
  const { site, device, camera } = it
  const { fromMs, beforeMs, sites, devices, cameras, track, masked, attribute } = filter
  const { scoreMin, scoreMax, sizeMin, file, zone } = filter
  const places = sites ?? devices ?? cameras
  return (
    (fromMs === undefined || it.filedAtMs >= fromMs) &&
    (beforeMs === undefined || it.filedAtMs < beforeMs) &&
    (places === undefined ||
      sites?.includes(site) ||
      devices?.includes(`${site}/${device}`) ||
      cameras?.includes(`${site}/${device}/${camera}`) ||
      false) &&
    (track === undefined || it.track === track) &&
    (masked === undefined || (it.masked ?? null) === masked) &&
    (attribute === undefined ||
      (it.attributes ?? []).some(
        ({ name, label, score }) =>
          [attribute, ...(attribute.or ?? [])].some(
            (wanted) => name === wanted.name && (wanted.label === undefined || label === wanted.label),
          ) && score >= (attribute.scoreMin ?? 0),
      )) &&
    (scoreMin === undefined || it.score >= scoreMin) &&
    (scoreMax === undefined || it.score <= scoreMax) &&
    (sizeMin === undefined || Math.min(it.box[2], it.box[3]) >= sizeMin) &&
    (zone === undefined || it.zones?.includes(zone) === true) &&
    (filter.reviewed === undefined ||
      (filter.reviewed.by === 'anna' && reviewed.has(it.id)) === filter.reviewed.is) &&
    (file === undefined || (it.file ?? '\n').toLowerCase().includes(file.toLowerCase()))
  )
}

/** Names the hour, day, week or month of a moment, by another way than the code does. */
function labeller(timeZone: string, by: 'hour' | 'day' | 'week' | 'month'): (atMs: number) => string {
  if (by === 'hour') return (atMs) => new Date(atMs).toISOString().slice(0, 13)
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short' })
  return (atMs) => {
    const day = format.format(atMs)
    if (by === 'day') return day
    if (by === 'month') return day.slice(0, 7)
    const date = new Date(`${day}T00:00:00Z`)
    return new Date(date.getTime() - ((date.getUTCDay() + 6) % 7) * DAY_MS).toISOString().slice(0, 10)
  }
}

const tally = (labels: readonly string[]) =>
  Object.fromEntries([...Map.groupBy(labels, (it) => it)].map(([label, all]) => [label, all.length]).sort())

/** The counts by day say what the rows say. */
async function agrees(t: Test, database: Database): Promise<void> {
  const rows = await database.write
    .selectFrom('detections')
    .select(['at_ms', 'camera_id', 'masked', 'superseded', 'shot', 'track'])
    .execute()
  const isBest = new Set(
    rows.filter(({ shot }) => shot === 'best').map((it) => `${it.camera_id} ${String(it.track)}`),
  )
  for (const it of rows)
    t.equal(it.superseded, it.shot === 'first' && isBest.has(`${it.camera_id} ${String(it.track)}`) ? 1 : 0)
  const shown = rows.filter(({ superseded }) => superseded === 0)
  const counted = tally(
    shown.flatMap(({ at_ms, camera_id, masked }) => {
      const day = Math.floor(at_ms / DAY_MS)
      const hour = Math.floor((at_ms % DAY_MS) / HOUR_MS)
      return [0, camera_id].map((camera) => `${day} ${camera} ${masked ?? -1} h${hour}`)
    }),
  )
  const days = await database.write.selectFrom('days').selectAll().execute()
  const said = Object.fromEntries(
    days
      .flatMap((row) =>
        HOUR_COLUMNS.filter((hour) => row[hour] !== 0).map((hour): [string, number] => [
          `${row.day} ${row.camera_id} ${row.masked} ${hour}`,
          row[hour],
        ]),
      )
      .sort(),
  )
  t.strictSame(said, Object.fromEntries(Object.entries(counted).sort()))
  for (const row of days)
    t.equal(
      row.total,
      HOUR_COLUMNS.reduce((sum, hour) => sum + row[hour], 0),
    )
}

const DERIVED = ['detections', 'detection_attributes', 'days', 'removed', 'horizons', 'cameras'] as const

async function wipe(database: Database): Promise<void> {
  for (const table of DERIVED)
    if (table !== 'cameras') await sql`delete from ${sql.table(table)}`.execute(database.write)
  // Cameras stay, since the database remembers their ids; when they were seen is set anew.
  await sql`update cameras set first_seen_ms = 9000000000000, last_seen_ms = 0`.execute(database.write)
}

/** The tables as text, in an order of their own; without what a number was given at random or by the clock. */
async function dump(database: Database): Promise<Record<string, string[]>> {
  const names = new Map(
    (await database.write.selectFrom('cameras').selectAll().execute()).map(({ id, camera }) => [id, camera]),
  )
  // One that no detection has any more is forgotten, and numbered anew when it comes again.
  const attributes = new Map(
    (await database.write.selectFrom('attributes').selectAll().execute()).map(({ id, name, label }) => [
      id,
      `${name}: ${label}`,
    ]),
  )
  const named: Readonly<Record<string, ReadonlyMap<unknown, string>>> = {
    camera_id: names,
    attribute_id: attributes,
  }
  const tables: Record<string, string[]> = {}
  for (const table of DERIVED) {
    const { rows } = await sql<Record<string, unknown>>`select * from ${sql.table(table)}`.execute(
      database.write,
    )
    tables[table] = rows
      .map(({ removed_at_ms, ...row }) =>
        JSON.stringify(row, (key, value) => named[key]?.get(value) ?? value),
      )
      .sort()
  }
  return tables
}
