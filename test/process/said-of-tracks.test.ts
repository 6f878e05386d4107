import t from 'tap'
import { TRACKS_SAID_MAX } from '../../device/limits.ts'
import { SaidOfTracks } from '../../device/process/said-of-tracks.ts'
import { ATTRIBUTES_MAX } from '../../wire/attributes.ts'

const said = (label: string, name = 'n', by = 'mine@1') => ({ name, label, score: 1, by })

t.test('a plugin that speaks of ever new faces fills no memory: the longest unsaid are forgotten', (t) => {
  const of = new SaidOfTracks()
  of.add('door', 'first', said('old'))
  of.add('door', 'kept', said('old'))
  for (let track = 0; track < TRACKS_SAID_MAX - 2; track += 1) of.add('door', `${track}`, said('x'))
  of.add('door', 'kept', said('new'))
  of.add('yard', 'first', said('other'))
  for (const track of ['one more', 'and one']) of.add('door', track, said('x'))
  t.same(of.with('door', 'first', []), [])
  t.same(of.with('door', 'kept', []), [said('new')])
  t.same(of.with('yard', 'first', []), [said('other')], 'each camera has its own')
  t.end()
})

t.test('nor one that says ever new names of one face', (t) => {
  const of = new SaidOfTracks()
  for (let name = 0; name <= ATTRIBUTES_MAX; name += 1) of.add('door', 'a', said('x', `n${name}`))
  const names = of.with('door', 'a', []).map(({ name }) => name)
  t.equal(names.length, ATTRIBUTES_MAX)
  t.notOk(names.includes('n0'), 'the first goes')
  t.end()
})

t.test('what is said now goes before what was said, by the same of the same', (t) => {
  const of = new SaidOfTracks()
  of.add('door', 'a', said('was'))
  of.add('door', 'a', said('stays', 'other'))
  of.add('door', 'a', said('stays', 'n', 'another@1'))
  t.same(of.with('door', 'a', [said('is')]), [
    said('is'),
    said('stays', 'other'),
    said('stays', 'n', 'another@1'),
  ])
  t.same(of.with('door', undefined, [said('is')]), [said('is')], 'a crop without a track')
  t.end()
})
