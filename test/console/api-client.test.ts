import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { apiServer } from './api-server.ts'

/** A client that a public generator makes of the document (openapi-typescript, openapi-fetch). */

const generator = process.env.SIGHTLINE_TEST_CLIENT_GENERATOR
const skip =
  (generator ?? '') === '' && 'set SIGHTLINE_TEST_CLIENT_GENERATOR to where a generator is installed'

const CLIENT = `
import createClient from 'openapi-fetch'
import type { components, paths } from './api.js'

const [, , baseUrl, token] = process.argv as [string, string, string, string]
const client = createClient<paths>({ baseUrl, headers: { authorization: \`Bearer \${token}\` } })

const ids: string[] = []
for (let cursor: string | undefined; ; ) {
  const { data, error } = await client.GET('/detections', { params: { query: { limit: 2, site: ['north'], scoreMin: 0.5, cursor } } })
  if (!data) throw new Error(error.detail)
  const page: components['schemas']['DetectionsPage'] = data
  ids.push(...page.items.map(({ id }) => id))
  if (page.next === null) break
  cursor = page.next
}
const [id = ''] = ids
const one = await client.GET('/detections/{id}', { params: { path: { id } } })
const marked = await client.POST('/detections/reviews', { body: { ids, reviewed: true } })
const counts = await client.GET('/counts', { params: { query: { by: 'day', from: '2026-11-20', to: '2026-11-21' } } })
const picture = await client.GET('/detections/{id}/picture', { params: { path: { id } }, parseAs: 'arrayBuffer' })
const command = await client.POST('/cameras/{site}/{device}/{camera}/commands', {
  params: { path: { site: 'north', device: 'pi', camera: 'gate' } },
  body: { command: 'pause' },
})
const none = await client.GET('/detections/{id}', { params: { path: { id: 'none' } } })
console.log(JSON.stringify({
  ids,
  camera: one.data?.camera,
  changed: marked.data?.changed,
  total: counts.data?.total,
  bytes: (picture.data as unknown as ArrayBuffer).byteLength,
  paused: command.data?.state?.paused,
  code: none.error?.code,
  wrong: none.error?.errors?.[0]?.parameter,
}))
`

t.test('a client generated from the document is typed, and works', { skip, timeout: 120_000 }, async (t) => {
  const { url, tokens, store } = await apiServer(t)
  const crops = Array.from({ length: 5 }, (_, n) => ({ capturedAtMs: Date.UTC(2026, 10, 20, 9, n) }))
  const stored = await store(...crops)
  const files = {
    'package.json': '{"type":"module","private":true}',
    'client.ts': CLIENT,
    'wrong.ts': CLIENT.replace("by: 'day'", "by: 'year'"),
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        target: 'es2022',
        lib: ['es2023', 'dom', 'dom.iterable'],
        module: 'nodenext',
        strict: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: true,
        types: [],
        outDir: 'out',
      },
    }),
    'process.d.ts': 'declare const process: { argv: string[] }',
  }
  const folder = mkdtempSync(join(tmpdir(), 'sightline-client-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  symlinkSync(join(`${generator}`, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'openapi.json'), await (await fetch(`${url}/openapi.json`)).text())
  const run = async (file: string, ...args: readonly string[]) =>
    (await promisify(execFile)(process.execPath, [file, ...args], { cwd: folder })).stdout
  await run('node_modules/openapi-typescript/bin/cli.js', 'openapi.json', '-o', 'api.d.ts')
  const tsc = (...files: readonly string[]) => {
    writeFileSync(join(folder, 'tsconfig.files.json'), JSON.stringify({ extends: './tsconfig.json', files }))
    return run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.files.json')
  }
  const refused = await tsc('wrong.ts', 'process.d.ts').catch(({ stdout }) => stdout)
  t.match(refused, /^wrong.ts.*"year"/, 'what the API would refuse, the compiler does')
  await tsc('client.ts', 'process.d.ts').catch(({ stdout }) => t.fail(stdout))
  const said = JSON.parse(await run('out/client.js', url, tokens.ada ?? ''))
  t.match(said, {
    ids: stored.map(({ id }) => id).toReversed(),
    camera: 'gate',
    changed: 5,
    total: 5,
    bytes: stored[4]?.bytes,
    paused: true,
    code: 'PARAMETER_INVALID',
    wrong: 'id',
  })
})
