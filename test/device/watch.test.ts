import { appendFile, mkdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t from 'tap'
import { WatchedFolder } from '../../device/sources/watch.ts'
import { until } from '../kit/wait.ts'
import { camera, play } from './playing.ts'

const names = (paths: readonly string[]) => paths.map((path) => path.slice(path.lastIndexOf('/') + 1))

t.test('a file counts once it has not changed for a second, oldest first, and once', async (t) => {
  const dir = t.testdir({ sub: {}, '.hidden': 'x', 'empty.jpg': '' })
  const watched = new WatchedFolder(dir)
  await writeFile(join(dir, 'b.jpg'), 'b')
  await writeFile(join(dir, 'sub', 'a.jpg'), 'a')
  await utimes(join(dir, 'sub', 'a.jpg'), 2000, 2000)
  await utimes(join(dir, 'b.jpg'), 1000, 1000)
  t.strictSame(await watched.look(0), [], 'seen for the first time')
  t.strictSame(await watched.look(999), [], 'not for a second yet')
  t.strictSame(names(await watched.look(1000)), ['b.jpg', 'a.jpg'])
  t.strictSame(await watched.look(9000), [], 'once')
  await rename(join(dir, 'b.jpg'), join(dir, 'renamed.jpg'))
  await rm(join(dir, 'sub'), { recursive: true })
  t.strictSame([await watched.look(10_000), await watched.look(12_000)], [[], []], 'renamed and deleted')
})

t.test('what lies in hidden folders is never taken, at any level', async (t) => {
  const dir = t.testdir()
  const hidden = ['.Trash-1000/files', '.stversions', '.thumbnails', '@eaDir', '#recycle', '$RECYCLE.BIN']
  for (const folder of ['', 'trip', ...hidden, ...hidden.map((it) => join('trip', it))]) {
    await mkdir(join(dir, folder), { recursive: true })
    await writeFile(join(dir, folder, 'photo.jpg'), 'a')
  }
  const watched = new WatchedFolder(dir)
  await watched.look(0)
  t.strictSame((await watched.look(1000)).toSorted(), [join(dir, 'photo.jpg'), join(dir, 'trip/photo.jpg')])
})

t.test('a file that grows waits until it is done; one that is written over is a new one', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'a.jpg')
  const watched = new WatchedFolder(dir)
  await writeFile(file, 'x')
  for (let seconds = 0; seconds < 5; seconds += 1) {
    t.strictSame(await watched.look(seconds * 1000), [], `at ${seconds} s`)
    await appendFile(file, 'x')
  }
  t.strictSame(await watched.look(5000), [])
  t.strictSame(names(await watched.look(6000)), ['a.jpg'])
  await writeFile(file, 'other')
  await watched.look(7000)
  t.strictSame(names(await watched.look(8000)), ['a.jpg'])
})

t.test('a folder that is away fails, and what was taken from it is known when it is back', async (t) => {
  const dir = join(t.testdir(), 'card')
  await mkdir(dir)
  const watched = new WatchedFolder(dir)
  await writeFile(join(dir, 'a.jpg'), 'a')
  await watched.look(0)
  t.equal((await watched.look(1000)).length, 1)
  await rename(dir, `${dir}-away`)
  await t.rejects(watched.look(2000), {
    code: 'SOURCE_UNAVAILABLE',
    message: /Cannot read the folder .*card \(/,
  })
  await rename(`${dir}-away`, dir)
  await watched.look(3000)
  t.strictSame(await watched.look(5000), [])
})

t.test('a watched folder gives what lies there and what comes, and only a stop ends it', async (t) => {
  const dir = t.testdir()
  const photo = (width: number) =>
    sharp({ create: { width, height: 40, channels: 3, background: 'red' } })
      .jpeg()
      .toBuffer()
  await writeFile(join(dir, 'first.jpg'), await photo(101))
  const stop = new AbortController()
  const widths: number[] = []
  const config = camera(dir, { watch: true })
  const done = play(
    config,
    (frame, source) => {
      t.equal(source.live, true)
      t.equal(source.isPatient, true)
      widths.push(frame.width)
    },
    stop.signal,
  )
  await until('the first photo', () => widths.length === 1)
  // Written in two halves, as over a slow network; and one that is no photo.
  const slow = await photo(102)
  await writeFile(join(dir, 'slow.jpg'), slow.subarray(0, 200))
  await writeFile(join(dir, 'notes.txt'), 'no photo')
  await sleep(300)
  await appendFile(join(dir, 'slow.jpg'), slow.subarray(200))
  await writeFile(join(dir, '.part'), await photo(103))
  await rename(join(dir, '.part'), join(dir, 'renamed.jpg'))
  await until('the others', () => widths.length === 3)
  await rm(join(dir, 'first.jpg'))
  await sleep(700)
  stop.abort()
  const seen = await done
  t.equal(seen.fault, undefined)
  t.strictSame(widths.toSorted(), [101, 102, 103])
  t.strictSame(seen.damaged, { photo: 1 }, 'the note alone')
  // Opened again, as after a failure: nothing is taken twice.
  const again = new AbortController()
  setTimeout(() => again.abort(), 2500)
  t.equal((await play(config, undefined, again.signal)).frames, 0)
})

t.test('what cannot be watched is said at once', async (t) => {
  const dir = t.testdir({ 'a.txt': 'a' })
  t.match((await play(camera(join(dir, 'none'), { watch: true }))).fault, { code: 'SOURCE_NOT_FOUND' })
  t.match((await play(camera(join(dir, 'a.txt'), { watch: true }))).fault, {
    code: 'SOURCE_UNREADABLE',
    message: /is not a folder/,
  })
})
