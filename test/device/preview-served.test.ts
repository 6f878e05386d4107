import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { command, startDevice, watch } from './commanded.ts'

/** The preview of real programs: of an agent, and `sightline preview`. */

const ROOT = join(import.meta.dirname, '..', '..')

/** Reads a stream until so many pictures have come. */
async function pictures(url: string, count: number): Promise<void> {
  const ending = new AbortController()
  const answer = await fetch(url, { signal: ending.signal })
  if (answer.status !== 200 || !answer.body) throw new Error(`${url} answers ${answer.status}`)
  let came = 0
  for await (const chunk of answer.body) {
    came += Buffer.from(chunk).toString('latin1').split('content-type: image/jpeg').length - 1
    if (came >= count) break
  }
  ending.abort()
}

t.test('an agent serves none by default; with it, what is paused is not shown', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const served = ({ msg }: { msg?: string }) => msg === 'health and metrics are served'
  const without = await (await startDevice(t, broker.url, { device: 'other' })).line(served)
  for (const path of [
    'preview',
    'preview/',
    'preview/state.json',
    'preview/card.mjpeg',
    'preview/preview.js',
  ])
    t.equal((await fetch(`${without.url}/${path}`)).status, 404, path)
  const zone = {
    name: 'door',
    points: [
      [0, 0],
      [0.5, 0],
      [0.5, 1],
    ],
  }
  const { url } = await (
    await startDevice(t, broker.url, {
      cameras: [{ name: 'card', source: 'testcard', zones: [zone] }],
      preview: { enabled: true },
    })
  ).line(served)
  await pictures(`${url}/preview/card.mjpeg`, 3)
  const state = async () => (await (await fetch(`${url}/preview/state.json`)).json()) as { cameras: object[] }
  t.match((await state()).cameras, [{ name: 'card', state: 'up', paused: false, zones: [zone] }])
  const eye = await watch(t, broker.url)
  await command(eye.client, 'pause', 'ON')
  await until('paused', async () => /"paused":true/.test(JSON.stringify(await state())))
})

t.test('sightline preview needs no broker, prints its address, and ends at Ctrl-C', async (t) => {
  const child = spawn(process.execPath, ['cli.ts', 'preview', '--source', 'testcard', '--port', '0'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const closed = once(child, 'close')
  let said = ''
  child.stdout.on('data', (text) => {
    said += String(text)
  })
  await until('its address', () => said.endsWith('/preview\n'), 20_000)
  const address = said.trim()
  t.equal((await fetch(address)).status, 200)
  await pictures(`${address}/camera.mjpeg`, 3)
  const metrics = await (await fetch(new URL('/metrics', address))).text()
  t.match(metrics, /sightline_preview_pictures_total\{[^}]*camera="camera"[^}]*\} [1-9]/)
  t.notMatch(metrics, /sightline_crops_published_total\{[^}]*\} [1-9]/)
  child.kill('SIGINT')
  t.strictSame(await closed, [0, null])
})

t.test('sightline preview says what is wrong with how it is called', async (t) => {
  for (const [args, status, text] of [
    [['--port', '99999'], 64, /Invalid port "99999"/],
    [['--rate', '0'], 64, /--rate needs a number .*not "0"/],
    [['--host', 'x'], 64, /preview --help/],
    [['--config', '/nowhere.yaml'], 66, /nowhere\.yaml/],
  ] as const) {
    const child = spawn(process.execPath, ['cli.ts', 'preview', ...args], {
      cwd: ROOT,
      env: { PATH: process.env.PATH },
    })
    let said = ''
    child.stderr.on('data', (data) => {
      said += String(data)
    })
    t.strictSame(await once(child, 'close'), [status, null], args.join(' '))
    t.match(said, text)
  }
  const open = spawn(process.execPath, ['cli.ts', 'preview'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, SIGHTLINE_HTTP__HOST: '0.0.0.0' },
  })
  let said = ''
  open.stderr.on('data', (data) => {
    said += String(data)
  })
  t.strictSame(await once(open, 'close'), [78, null])
  t.match(said, /CONFIG_UNSAFE_LISTENER/)
})

t.test('a source that is none is said once, and no address before it', async (t) => {
  const folder = t.testdir({ 'notes.mp4': 'no video', photos: { 'notes.txt': 'no photo' } })
  for (const [source, status, code] of [
    [join(folder, 'missing.mp4'), 66, 'SOURCE_NOT_FOUND'],
    [join(folder, 'notes.mp4'), 65, 'SOURCE_UNREADABLE'],
    [join(folder, 'photos'), 65, 'SOURCE_UNREADABLE'],
  ] as const) {
    const child = spawn(process.execPath, ['cli.ts', 'preview', '--source', source, '--port', '0'], {
      cwd: ROOT,
      env: { PATH: process.env.PATH },
    })
    let printed = ''
    let said = ''
    child.stdout.on('data', (data) => {
      printed += String(data)
    })
    child.stderr.on('data', (data) => {
      said += String(data)
    })
    t.strictSame(await once(child, 'close'), [status, null], source)
    t.equal(printed, '')
    t.match(said, new RegExp(`"code":"${code}"`))
    t.equal(said.trim().split('\n').length, 1, said)
  }
})

t.test('a camera that does not come is said once, not at each try', async (t) => {
  const child = spawn(process.execPath, ['cli.ts', 'preview', '--source', '/dev/video63', '--port', '0'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH },
  })
  t.teardown(() => child.kill('SIGKILL'))
  let printed = ''
  let said = ''
  child.stdout.on('data', (data) => {
    printed += String(data)
  })
  child.stderr.on('data', (data) => {
    said += String(data)
  })
  await until('its address', () => printed.endsWith('/preview\n'), 20_000)
  const tries = async () => {
    const metrics = await (await fetch(new URL('/metrics', printed.trim()))).text()
    return Number(/^sightline_source_failures_total\{.*\} (\d+)$/m.exec(metrics)?.[1] ?? 0)
  }
  await until('three tries', async () => (await tries()) >= 3, 20_000)
  t.equal(said.split('\n').filter((line) => line.includes('SOURCE_UNAVAILABLE')).length, 1, said)
  child.kill('SIGINT')
})
