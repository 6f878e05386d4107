import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../kit/programs.ts'
import { sightline } from './sightline.ts'

t.test('a new plugin passes its own test, and is tried with real faces', async (t) => {
  const folder = join(temporaryFolder(t), 'lamp')
  const made = await sightline(t, ['plugin', 'new', 'lamp', '--folder', folder])
  t.match(made, { status: 0, stdout: /lamp\.ts/ })
  for (const file of ['lamp.ts', 'lamp.test.ts', 'package.json', 'README.md'])
    t.ok(existsSync(join(folder, file)), file)
  const { execFileSync } = await import('node:child_process')
  const env = { PATH: process.env.PATH ?? '' }
  t.match(
    execFileSync(process.execPath, ['--test', 'lamp.test.ts'], { cwd: folder, env }).toString(),
    /pass 2/,
  )
  const { scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  t.equal(scripts.test, 'node --test lamp.test.ts', 'a Node that cannot read it says so: it would find no test of its own')
  t.match(await sightline(t, ['plugin', 'new', 'lamp', '--folder', folder]), { status: 73 })
  const out = join(folder, 'out.png')
  const module = join(folder, 'lamp.ts')
  const tried = await sightline(t, ['plugin', 'test', module, '--frames', '1', '--out', out])
  t.match(tried, {
    status: 0,
    stdout: /face 0: crop [\d.]+ ms: light=(dark|light) \(0\.\d\d\)[\s\S]*all answers can be taken/,
  })
  t.match(tried.stdout, 'the plugin gave none')
})

t.test('what a plugin does wrong is said, and is the exit status', async (t) => {
  const file = join(temporaryFolder(t), 'bad.mjs')
  writeFileSync(
    file,
    'export default { version: "1", open: () => ({ crop() { throw new Error("no") }, frame: () => 5 }) }',
  )
  const failed = await sightline(t, ['plugin', 'test', file, '--frames', '1'])
  t.match(failed, { status: 70, stdout: /PROCESSOR_FAILED: crop\(\) failed: no \(.*bad\.mjs:1\)/ })
  t.match(failed.stdout, /frame\(\) gave a number/)
  t.match(await sightline(t, ['plugin', 'test', `${file}.ts`]), { status: 66, stderr: /^PLUGIN_NOT_FOUND: / })
  t.match(await sightline(t, ['plugin', 'test', file, '--settings', '{']), { status: 64 })
  t.match(await sightline(t, ['plugin', 'test']), { status: 64 })
  t.match(await sightline(t, ['plugin', 'new', 'a b']), { status: 65 })
})
