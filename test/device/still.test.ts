import { execFileSync } from 'node:child_process'
import { chmodSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { camera, play } from './playing.ts'

const hasFswebcam = (() => {
  try {
    execFileSync('fswebcam', ['--version'], { stdio: 'ignore' })
    return true
  } catch (error) {
    return (error as { code?: string }).code !== 'ENOENT'
  }
})()

/** A program in fswebcam's place, for faults that the real one cannot be made to show. */
function inItsPlace(t: { testdir: () => string; teardown: (run: () => void) => void }, script: string): void {
  const dir = t.testdir()
  writeFileSync(join(dir, 'fswebcam'), `#!/bin/sh\n${script}\n`)
  chmodSync(join(dir, 'fswebcam'), 0o755)
  const path = process.env.PATH
  process.env.PATH = `${dir}:${path}`
  t.teardown(() => {
    process.env.PATH = path
  })
}

t.test('a still each interval, turned and masked like every picture, and no file left behind', async (t) => {
  if (!hasFswebcam) {
    t.comment('skipped: fswebcam is absent (Debian: apt-get install fswebcam)')
    return
  }
  const temporary = t.testdir()
  const before = process.env.TMPDIR
  process.env.TMPDIR = temporary
  t.teardown(() => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
  })
  const times: number[] = []
  const masks = [{ left: 0, top: 0, width: 1, height: 0.5 }]
  const seen = await play(
    camera('still:TEST', { interval: '400ms', width: 320, height: 240, rotate: 90, masks }),
    async (frame, source) => {
      times.push(performance.now())
      t.equal(source.live, true)
      t.strictSame([frame.width, frame.height], [240, 320])
      t.ok(
        (await frame.cut(0, 0, 240, 160)).every((value) => value === 0),
        'masked',
      )
      t.ok(
        (await frame.cut(0, 160, 240, 160)).some((value) => value > 200),
        'bars',
      )
      return frame.sequence === 2
    },
  )
  t.equal(seen.fault, undefined)
  const tookMs = (times[2] as number) - (times[0] as number)
  t.ok(tookMs > 500 && tookMs < 4000, `two intervals took ${tookMs} ms`)
  t.strictSame(readdirSync(temporary), [])
})

t.test('a camera that is not there is an error that says which are', async (t) => {
  t.match((await play(camera('still:/dev/video99'))).fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /No camera at still:\/dev\/video99\..*(There are: \/dev\/video|no \/dev\/video\*)/,
  })
})

t.test('a name is a camera or it is refused: nothing of it reaches a shell', async (t) => {
  for (const source of [
    'still:/dev/video0;touch x',
    'still:$(id)',
    'still:',
    'still:../x',
    'still:-h',
    'still:TEST x',
  ])
    t.throws(() => camera(source), { code: 'CONFIG_INVALID', message: /must be still: and a camera/ }, source)
})

t.test('a program that hangs is killed in its time, and a stop does not wait for it', async (t) => {
  inItsPlace(t, 'echo $$ > "$(dirname "$0")/pid"; exec sleep 60')
  const start = performance.now()
  const seen = await play(camera('still:TEST', { timeout: '500ms' }))
  t.match(seen.fault, { code: 'SOURCE_UNAVAILABLE', message: /No picture from .* within 0.5 s/ })
  t.ok(performance.now() - start < 5000)
  const stop = new AbortController()
  setTimeout(() => stop.abort(), 200)
  const stopped = performance.now()
  t.equal((await play(camera('still:TEST', { timeout: '30s' }), undefined, stop.signal)).fault, undefined)
  t.ok(performance.now() - stopped < 5000)
})

t.test('what the program says reaches the user, short and without colours', async (t) => {
  inItsPlace(
    t,
    "printf '\\033[31mError selecting input 0\\nVIDIOC_S_INPUT: Device or resource busy\\033[0m' >&2",
  )
  const { fault } = await play(camera('still:TEST'))
  t.match(fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /\(Error selecting input 0 VIDIOC_S_INPUT: Device or resource busy\)/,
  })
  t.notMatch(fault?.message, /\[31m|u001b/)
})

t.test('without the program the error says how to get it', async (t) => {
  const path = process.env.PATH
  process.env.PATH = t.testdir()
  t.teardown(() => {
    process.env.PATH = path
  })
  t.match((await play(camera('still:TEST'))).fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /fswebcam, which is not installed.*apt-get install/,
  })
})
