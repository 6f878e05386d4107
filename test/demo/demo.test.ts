import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import sharp from 'sharp'
import t from 'tap'
import { portraitSvg } from '../../device/sources/portrait.ts'
import { type Outcome, Sightline, sightline } from '../cli/sightline.ts'
import { freePort } from '../kit/ports.ts'
import { type QueueBooks, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** The demo end to end: six processes, from the testcard to the bucket and the console. */

const LINUX = process.platform === 'linux'
const PROGRAMS = ['device', 'edge-broker', 'cloud-broker', 'subscriber', 'console'] as const

const objectsIn = (data: string) =>
  readdirSync(join(data, 'bucket'), { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.jpg') && !name.startsWith('.'),
  ).length

const logOf = (data: string, program: string) =>
  readFileSync(join(data, `${program}.log`), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { msg: string; time: string; [key: string]: unknown })

/** A folder of photos of nobody, with a face in each. */
async function portraits(folder: string, count: number): Promise<string> {
  const photos = join(folder, 'photos')
  mkdirSync(photos)
  for (let seed = 1; seed <= count; seed += 1)
    await sharp({ create: { width: 640, height: 480, channels: 3, background: '#889' } })
      .composite([{ input: Buffer.from(portraitSvg(seed, 220)) }])
      .jpeg()
      .toFile(join(photos, `${seed}.jpg`))
  return photos
}

/** Processes whose environment names the folder: the demo's programs are told theirs that way. */
function processesIn(folder: string): string[] {
  if (!LINUX) return [] // there it cannot be told
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`_FOLDER=${folder}`)
    } catch {
      return false // gone meanwhile, or another user's
    }
  })
}

/** Something else that has a port. */
async function taking(port: number): Promise<AsyncDisposable> {
  const server = createServer()
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(port, '127.0.0.1', resolve),
  )
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) }
}

/** How many objects the books speak of, all lines having been looked at. */
function bookedIn(t: { match(text: string, pattern: RegExp): unknown }, stdout: string): number {
  t.match(stdout, /^The books:$/m)
  t.match(stdout, /^ {2}agent +made \d+ = published \d+ \+ waiting 0 \+ dropped \d+$/m)
  for (const keeper of ['edge broker', 'cloud broker', 'subscriber'])
    t.match(
      stdout,
      new RegExp(`^ {2}${keeper} +accepted (\\d+) = forwarded \\1 \\+ pending 0 \\+ dropped 0$`, 'm'),
    )
  t.match(stdout, /^They balance: every crop that was published is in the bucket\.$/m)
  t.match(stdout, /^ {2}faces +detected \d+, crops made \d+$/m)
  t.match(stdout, /^ +in the folder \/.*\/bucket$/m)
  t.match(stdout, /^The gallery is closed/m)
  return Number(/^ {2}bucket +(\d+) new objects/m.exec(stdout)?.[1])
}

/** Ports that the demo finds free may be taken by a test beside it before its programs have them. */
async function demo(...run: Parameters<typeof sightline>): Promise<Outcome> {
  const outcome = await sightline(...run)
  return outcome.code === 'PORT_TAKEN' ? await sightline(...run) : outcome
}

t.test('told to stop by SIGINT it drains, and the bucket holds what the books say', async (t) => {
  const data = join(temporaryFolder(t), 'kept')
  const demo = Sightline.start(t, ['demo', '--data', data])
  await demo.until(() => / stored [1-9]/.test(demo.stdout), 30_000)
  if (LINUX) t.equal(processesIn(data).length, PROGRAMS.length)
  demo.kill('SIGINT')
  const { status, stdout, stderr } = await demo.end()
  t.match({ status, stderr }, { status: 0, stderr: '' })
  const booked = bookedIn(t, stdout)
  t.ok(booked > 0)
  t.equal(objectsIn(data), booked)
  t.strictSame(processesIn(data), [])

  const books = PROGRAMS.map((program) => logOf(data, program).find(({ msg }) => msg === 'books'))
  t.match(books[0], { made: booked, published: booked, dropped: 0 }, "the agent's last words")
  for (const [at, queue] of ['session/sightline-subscriber', 'inbox'].entries())
    t.match(books[at + 2], { queues: { [queue]: { accepted: booked, forwarded: booked, pending: 0 } } })
  // States and reports cross the bridge too, and announcements come in batches.
  for (const [at, queue, least] of [
    [1, 'bridge/cloud', booked],
    [4, 'inbox', 1],
  ] as const) {
    const { accepted, pending } = (books[at] as unknown as { queues: Record<string, QueueBooks> }).queues[
      queue
    ] as QueueBooks
    t.ok(accepted >= least, `${accepted} in ${queue}`)
    t.equal(pending, 0)
  }
  const ends = PROGRAMS.map(
    (program) => logOf(data, program).find(({ msg }) => msg === 'draining')?.time ?? '',
  )
  t.strictSame(ends.toSorted(), ends, 'they end in the direction of flow')
})

t.test(
  'kill -9 of the demo, or of its launcher, leaves none of its programs',
  { skip: !LINUX },
  async (t) => {
    for (const which of ['demo', 'launcher'] as const) {
      const data = join(temporaryFolder(t), which)
      const demo = Sightline.start(t, ['demo', '--data', data])
      await demo.until(() => / stored [1-9]/.test(demo.stdout), 30_000)
      t.equal(processesIn(data).length, PROGRAMS.length)
      const launched = readFileSync(`/proc/${demo.pid}/task/${demo.pid}/children`, 'utf8').trim()
      if (which === 'demo') process.kill(Number(launched), 'SIGKILL')
      else demo.kill('SIGKILL')
      await until('they are gone', () => processesIn(data).length === 0, 30_000)
      await demo.end()
      if (which === 'demo') continue // which wrote their logs
      for (const program of PROGRAMS) t.equal(logOf(data, program).at(-1)?.msg, 'stopped', program)
    }
  },
)

t.test('--for: it ends by itself, and leaves nothing behind', async (t) => {
  const folder = temporaryFolder(t)
  const { status, stdout, stderr } = await demo(t, ['demo', '--for', '1s'], { TMPDIR: folder })
  t.match({ status, stderr }, { status: 0, stderr: '' })
  bookedIn(t, stdout)
  t.match(
    stdout,
    /^ +1 s {2}captured \d+ {2}detected \d+ {2}published \d+ {2}queued \d+ {2}stored \d+ {2}latency /m,
  )
  t.strictSame(processesIn(folder), [])
  t.strictSame(readdirSync(folder), [], 'no temporary folder, and nothing of the libraries')
})

t.test('a folder of photos: it ends when the source does', async (t) => {
  const folder = temporaryFolder(t)
  const photos = await portraits(folder, 3)
  const tmp = join(folder, 'tmp')
  mkdirSync(tmp)
  const { status, stdout, stderr } = await demo(t, ['demo', '--source', photos], { TMPDIR: tmp })
  t.match({ status, stderr }, { status: 0, stderr: '' })
  t.equal(bookedIn(t, stdout), 3, 'one face in each')
  t.match(stdout, /^The source has ended\. The gallery closes as soon as/m)
  t.match(stdout, /the data of this run is removed; --data DIR keeps it/)
  t.strictSame(readdirSync(tmp), [])
})

t.test('a second run in the same folder says what was there, and counts what it did itself', async (t) => {
  const folder = temporaryFolder(t)
  const photos = await portraits(folder, 3)
  const data = join(folder, 'kept')
  const args = ['demo', '--source', photos, '--data', data]
  const { stdout: first } = await demo(t, args)
  t.equal(bookedIn(t, first), 3)
  t.notMatch(first, 'earlier runs')
  const { status, stdout } = await demo(t, args)
  t.equal(status, 0)
  t.match(stdout, `${data} holds 3 crops of earlier runs; the gallery shows them too.`)
  t.equal(bookedIn(t, stdout), 3)
  t.match(stdout, /^ {2}cloud broker +accepted 3 = forwarded 3 /m)
  t.match(stdout, /^ {2}bucket +3 new objects, plus 3 from before$/m)
  t.equal(objectsIn(data), 6)
})

t.test('the gallery is at the port that was asked for, or says why it is elsewhere', async (t) => {
  const [port, elsewhere] = [await freePort(), await freePort()]
  const run = async (...args: string[]) => {
    const demo = Sightline.start(t, ['demo', ...args])
    await demo.until(() => /^Gallery: /m.test(demo.stdout), 30_000)
    const address = /^Gallery: (\S+)/m.exec(demo.stdout)?.[1] as string
    t.equal((await fetch(address)).status, 200)
    demo.kill('SIGINT')
    const { status, stdout } = await demo.end()
    t.equal(status, 0)
    return stdout
  }
  t.match(await run('--port', String(port)), `Gallery: http://127.0.0.1:${port}/\n`)
  await using _taker = await taking(elsewhere)
  const outcome = await sightline(t, ['demo', '--port', String(elsewhere)])
  t.match(outcome, { status: 69, code: 'PORT_TAKEN', stdout: '' })
  t.match(outcome.sentence, `127.0.0.1:${elsewhere} is in use by another program.`)
  const usual = await taking(8080).catch(() => undefined) // or somebody else has it
  t.match(await run(), /^Gallery: \S+ \(port 8080 is in use; --port chooses another\)$/m)
  await usual?.[Symbol.asyncDispose]()
})

t.test(
  'what is wrong with how it is called is said before anything starts, and leaves nothing',
  async (t) => {
    const folder = temporaryFolder(t)
    const text = join(folder, 'notes.mp4')
    writeFileSync(text, 'no video at all')
    const missing = join(folder, 'missing.mp4')
    for (const [args, expected, said] of [
      [
        ['--source', missing],
        { status: 66, code: 'SOURCE_NOT_FOUND' },
        `${missing} does not exist. Give the path`,
      ],
      [['--source', text], { status: 65, code: 'SOURCE_UNREADABLE' }, `${text} is not a readable video`],
      [['--source', 'ftp://x/y.mp4'], { status: 78, code: 'CONFIG_INVALID' }, /"cameras\.0\.source" must be/],
      [['--model', 'resnet'], { status: 66, code: 'MODEL_NOT_FOUND' }, 'resnet'],
      [['--model', text], { status: 65, code: 'MODEL_UNUSABLE' }, text],
      [['--pace', 'slow'], { status: 78, code: 'CONFIG_INVALID' }, /"cameras\.0\.pace" must be/],
      [['--port', 'http'], { status: 64, code: 'USAGE' }, 'Invalid port "http"'],
      [['--for', 'ever'], { status: 64, code: 'USAGE' }, '--for must be a duration'],
    ] as const) {
      const data = join(folder, 'data')
      const outcome = await sightline(t, ['demo', ...args, '--data', data], {
        SIGHTLINE_BROKER__URL: 'mqtt://settings.for.one.program:1', // the demo brings its own
      })
      t.match(outcome, { ...expected, stdout: '' }, args.join(' '))
      t.match(outcome.sentence, said)
      t.notOk(existsSync(data), 'no folder either')
    }
  },
)

t.test('a camera that is not there: why, in each line, and a status that says so', async (t) => {
  const outcome = await sightline(t, ['demo', '--source', '/dev/video63', '--for', '8s'])
  t.match(outcome, { status: 69, code: 'SOURCE_UNAVAILABLE' })
  t.match(outcome.sentence, /No picture from the camera: No camera at \/dev\/video63/)
})

/** Gives a program a terminal. */
const SCRIPT = '/usr/bin/script'

t.test(
  'at a terminal: u unplugs and plugs, the view stays when the source ends, q sums up',
  { skip: LINUX && existsSync(SCRIPT) ? false : `there is no ${SCRIPT} of Linux here` },
  async (t) => {
    const folder = temporaryFolder(t)
    const photos = await portraits(folder, 3)
    const data = join(folder, 'kept')
    await demo(t, ['demo', '--source', photos, '--data', data])
    const env = Object.entries(process.env).filter(([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP)/.test(name))
    const command = `stty cols 80 rows 24; exec '${process.execPath}' bin/sightline.js demo --source '${photos}' --data '${data}'`
    const terminal = spawn(SCRIPT, ['-qefc', command, '/dev/null'], {
      cwd: join(import.meta.dirname, '..', '..'),
      env: { ...Object.fromEntries(env), TERM: 'xterm', TMPDIR: folder },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.after(() => void terminal.kill())
    let screen = ''
    terminal.stdout.setEncoding('utf8').on('data', (text: string) => {
      screen += text
    })
    const see = (what: RegExp) =>
      until(
        `${what}`,
        () => what.test(stripVTControlCharacters(screen.slice(screen.lastIndexOf('\u001b[H')))),
        30_000,
      )
    await see(/the source has ended/)
    await see(/connected/)
    await see(/q ends the demo, and the gallery closes/)
    await see(/cloud broker +forwarded +3 /)
    await see(/Data .*kept +3 crops from before/)
    terminal.stdin.write('u')
    await see(/unplugged: crops wait at the edge/)
    terminal.stdin.write('u')
    await see(/connected/)
    terminal.stdin.write('q')
    const [status] = await once(terminal, 'exit')
    t.equal(status, 0)
    const after = screen.slice(screen.lastIndexOf('\u001b[?1049l')).replaceAll('\r', '')
    t.equal(bookedIn(t, after), 3, 'the books stand on the screen that was there before')
    t.match(screen, '\u001b[?25h', 'the cursor is back')
    t.strictSame(processesIn(folder), [])
    t.strictSame(readdirSync(folder), ['kept', 'photos'])
  },
)

t.test(
  'a terminal that is dumb gets a line a second, and no orders',
  { skip: LINUX && existsSync(SCRIPT) ? false : `there is no ${SCRIPT} of Linux here` },
  async (t) => {
    const folder = temporaryFolder(t)
    const env = Object.entries(process.env).filter(([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP)/.test(name))
    const command = `stty cols 80 rows 24; exec '${process.execPath}' bin/sightline.js demo`
    const terminal = spawn(SCRIPT, ['-qefc', command, '/dev/null'], {
      cwd: join(import.meta.dirname, '..', '..'),
      env: { ...Object.fromEntries(env), TERM: 'dumb', TMPDIR: folder },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.after(() => void terminal.kill())
    let screen = ''
    terminal.stdout.setEncoding('utf8').on('data', (text: string) => {
      screen += text
    })
    await until('two lines', () => (screen.match(/captured \d+ {2}detected/g) ?? []).length >= 2, 30_000)
    terminal.stdin.write('\u0003')
    const [status] = await once(terminal, 'exit')
    t.equal(status, 0)
    bookedIn(t, screen.replaceAll('\r', ''))
    t.notMatch(screen, '\u001b')
  },
)
