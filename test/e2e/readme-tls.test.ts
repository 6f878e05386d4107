import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { readCrop } from '../../wire/crop.ts'
import { freePort } from '../kit/ports.ts'
import { type LogLine, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** README's example of TLS, as it stands there: its commands, its files. Ports alone are others. */

const ROOT = resolve(import.meta.dirname, '..', '..')
const LAUNCHER = join(ROOT, 'bin', 'sightline.js')
const CROP_MS_MAX = 60_000
const LEVEL_WARN = 40

function readExample(): { commands: string[][]; files: Map<string, string> } {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const [, section = ''] = /^### TLS.*$([\s\S]*?)^## /m.exec(readme) ?? []
  const blocks = [...section.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, kind, text = '']) => ({
    kind,
    text,
  }))
  const commands = blocks
    .filter(({ kind }) => kind === '')
    .flatMap(({ text }) => text.trimEnd().split('\n'))
    .map((line) => line.replace(/ +#.*/, '').split(' '))
  const files = blocks
    .filter(({ kind }) => kind === 'yaml')
    .map(({ text }) => [/^# (\S+)/.exec(text)?.[1] ?? '', text] as const)
  return { commands, files: new Map(files) }
}

t.test('the commands and files of README bring a face from the agent to the bucket', async (t) => {
  const folder = temporaryFolder(t)
  const { commands, files } = readExample()
  for (const [name, text] of files) writeFileSync(join(folder, name), text)
  const port = await freePort()
  const outer = Object.entries(process.env).filter(([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP)/.test(name))
  const own: Record<string, Record<string, string>> = {
    broker: { SIGHTLINE_LISTENERS__0__PORT: String(port) },
    subscriber: { SIGHTLINE_BROKER__URL: `mqtts://localhost:${port}` },
    device: { SIGHTLINE_BROKER__URL: `mqtts://localhost:${port}`, SIGHTLINE_EMIT__BEST_AFTER: '2s' },
  }
  const logs = new Map<string, LogLine[]>()
  for (const [npx, sightline, ...args] of commands) {
    t.strictSame([npx, sightline], ['npx', 'sightline'])
    const [program = ''] = args
    const env = { ...Object.fromEntries(outer), ...own[program] }
    if (!(program in own)) {
      const { status, stderr } = spawnSync(process.execPath, [LAUNCHER, ...args], {
        cwd: folder,
        env,
        encoding: 'utf8',
      })
      t.equal(status, 0, `${args.join(' ')}: ${stderr}`)
      continue
    }
    logs.set(program, start(t, folder, args, { ...env, SIGHTLINE_HTTP__PORT: '0' }))
    // The agent is ready when its first crop is there.
    const isReady = () => logs.get(program)?.some(({ msg }) => msg === `${program} ready`) ?? false
    if (program !== 'device') await until(`${program} is ready`, isReady, CROP_MS_MAX)
  }
  t.strictSame([...logs.keys()].sort(), ['broker', 'device', 'subscriber'])
  const crops = () => globSync('data/bucket/home/camera-1/**/*.jpg', { cwd: folder })
  await until('a crop is in the bucket', async () => crops().length > 0, CROP_MS_MAX)
  const crop = readCrop(readFileSync(join(folder, crops()[0] as string)))
  t.match(crop, { crop: { site: 'home', device: 'camera-1' } })
  t.ok(existsSync(join(folder, 'pki', 'ca.key')))
  for (const [program, log] of logs)
    t.strictSame(
      log.filter(({ level }) => level >= LEVEL_WARN),
      [],
      `${program} complains of nothing`,
    )
})

function start(t: Test, cwd: string, args: readonly string[], env: NodeJS.ProcessEnv): LogLine[] {
  const child: ChildProcess = spawn(process.execPath, [LAUNCHER, ...args], {
    cwd,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const log: LogLine[] = []
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
    if (line.startsWith('{')) log.push(JSON.parse(line) as LogLine)
    else t.comment(line)
  })
  const closed = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await closed
  })
  return log
}
