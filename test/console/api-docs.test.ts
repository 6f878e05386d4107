import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { until } from '../kit/wait.ts'
import { apiServer, NORTH } from './api-server.ts'

const isMissing = (program: string) => spawnSync(program, ['--version']).status !== 0
const skip = (isMissing('curl') && 'there is no curl') || (isMissing('python3') && 'there is no python3')

t.test('each example of docs/api.md works as it stands there', { skip, timeout: 60_000 }, async (t) => {
  const { url, tokens, store, news } = await apiServer(t)
  const at = Date.UTC(2026, 10, 20, 9)
  await store(
    ...Array.from({ length: 7 }, (_, n) => ({ ...NORTH, capturedAtMs: at + n, masked: n % 2 === 0 })),
  )
  const folder = mkdtempSync(join(tmpdir(), 'sightline-docs-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const text = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8')
  const blocks = (kind: string) =>
    [...text.matchAll(new RegExp(`\n\`\`\`${kind}\n(.*?)\n\`\`\`\n`, 'gs'))].map(([, block = '']) => block)
  const env = { ...process.env, CONSOLE: new URL(url).origin, TOKEN: tokens.ada }
  const run = async (program: string, ...args: readonly string[]) =>
    (await promisify(execFile)(program, args, { cwd: folder, env })).stdout
  const said: string[] = []
  for (const block of blocks('sh')) said.push(await run('sh', '-ec', block))
  const [first = '', filtered = '', counts = '', exported, events, wrong = ''] = said
  t.equal(JSON.parse(first).items.length, 5)
  t.equal(JSON.parse(filtered).items.length, 3)
  t.match(JSON.parse(counts), { total: 7, items: [{ camera: NORTH, count: 7 }] })
  t.equal(exported, '')
  t.equal(readFileSync(join(folder, 'faces.csv'), 'utf8').split('\r\n').length, 9)
  t.match(events, /^retry: 2000\nid: 0\n\n/)
  t.same(JSON.parse(wrong), JSON.parse(blocks('json')[0] ?? ''), 'and the error is the one that is shown')
  const python = run('python3', '-c', blocks('python').join('\n\n'))
  await until('it follows', () => news.followers.size === 1)
  news.add({ is: 'removed', id: '01980000-0000-7000-8000-000000000000', camera: NORTH })
  const lines = (await python).trim().split('\n')
  t.match(lines, [
    /^\d+ gate 0.9 \/api\/v1\/detections\//,
    /./,
    /./,
    /./,
    /./,
    /^7 faces$/,
    /^1 removed gate$/,
  ])
})
