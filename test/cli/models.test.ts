import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { models } from '../../commands/models/models.ts'
import { barLine } from '../../commands/progress.ts'
import { readCatalog } from '../../models/catalog.ts'
import { convertBlazeface, convertModel, isMade } from '../../models/convert.ts'
import { sharedData } from '../kit/data.ts'
import { serveFiles } from '../kit/file-server.ts'
import { freePort } from '../kit/ports.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { sightline } from './sightline.ts'

/** A folder for models, and the environment that names it. */
function folderOf(t: Test): { folder: string; env: Record<string, string> } {
  const folder = join(temporaryFolder(t), 'models')
  mkdirSync(folder)
  return { folder, env: { SIGHTLINE_DETECT__MODEL_FOLDER: folder } }
}

/** A user's catalogue with a real model, served from here. */
async function served(t: Test, folder: string) {
  const bytes = Buffer.from(await convertBlazeface())
  const server = await serveFiles({ '/good.onnx': bytes, '/bad.onnx': Buffer.alloc(bytes.length) })
  t.after(async () => await server[Symbol.asyncDispose]())
  const entry = (name: string, sources: string[]) => ({
    name,
    head: 'blazeface',
    file: `${name}.onnx`,
    sources,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    bytes: bytes.length,
    input: { width: 128, height: 128, free: true },
  })
  const away = `http://127.0.0.1:${await freePort()}/good.onnx`
  const entries = [
    entry('good', [away, `${server.url}/good.onnx`]),
    entry('forged', [`${server.url}/bad.onnx`]),
    entry('away', [away]),
  ]
  writeFileSync(join(folder, 'catalog.yaml'), JSON.stringify({ models: entries }))
  return { server, bytes }
}

t.test('list says what there is, and which of it is here', async (t) => {
  const { env } = folderOf(t)
  const { status, stdout, stderr } = await sightline(t, ['models', 'list'], env)
  t.match({ status, stderr }, { status: 0, stderr: '' })
  t.match(stdout, /^blazeface +256x256\* +581\.2 KB +0\.98 +0\.93 +built in$/m)
  t.match(stdout, /^yunet-s-640 +640x640 +232\.6 KB +1\.00 +0\.98 +not downloaded$/m)
  t.match(stdout, /^classifier +input/m, 'what each is: detectors first, then classifiers')
  t.match(stdout, /^liveness +32x32 +601\.1 KB +built in +fake, real$/m)
  t.match(stdout, /^measured on 16 photos: .* dogs, a cat/m, 'and on what it was measured')
  for (const line of stdout.split('\n')) t.ok(line.length <= 80, `${line.length} columns: ${line}`)
  const json = JSON.parse((await sightline(t, ['models', 'list', '--json'], env)).stdout)
  t.ok(json.length >= 9)
  t.match(json[0], { name: 'blazeface', presence: 'built in' })
})

t.test('every model of the catalogue has sources, a checksum, a licence and figures', async (t) => {
  for (const entry of readCatalog(t.testdir()).entries.values()) {
    t.ok(entry.licence && (entry.classify ?? entry.measured?.on) && entry.input, entry.name)
    if (isMade(entry.name)) {
      t.equal(entry.bytes, (await convertModel(entry.name)).length, 'its size is that of what is made')
      continue
    }
    t.ok(entry.sources.length >= 2 && entry.sha256 && entry.bytes, entry.name)
    for (const source of entry.sources) t.match(source, /^https:.*[/@][0-9a-f]{40}\//, 'pinned to a commit')
  }
})

t.test('pull, verify, use: a model from the network', async (t) => {
  const { folder, env } = folderOf(t)
  const { server, bytes } = await served(t, folder)
  const missing = await sightline(t, ['detect', 'bench', '--model', 'good'], env)
  t.match(missing, { status: 66, code: 'MODEL_NOT_FOUND', sentence: /sightline models pull good/ })

  const pulled = await sightline(t, ['models', 'pull', 'good'], env)
  t.match(pulled, { status: 0, stderr: '', stdout: /good\.onnx, checksum correct/ })
  t.ok(readFileSync(join(folder, 'good.onnx')).equals(bytes))
  t.same(server.asked, ['/good.onnx'], 'from the second source, the first being away')
  t.match(await sightline(t, ['models', 'pull', 'good'], env), { status: 0, stdout: /already downloaded/ })
  t.match(await sightline(t, ['models', 'verify'], env), {
    status: 0,
    stdout: /^good: checksum correct/m,
  })
  t.match(await sightline(t, ['models', 'info', 'good'], env), {
    status: 0,
    stdout: /^state +.*good\.onnx$/m,
  })

  writeFileSync(join(folder, 'good.onnx'), 'something else')
  t.match(await sightline(t, ['models', 'verify'], env), { status: 65, stdout: /^good: .*is damaged/m })
  t.match(await sightline(t, ['models', 'list'], env), { status: 0, stdout: /^good .*damaged$/m })
  t.match(await sightline(t, ['models', 'pull', 'good'], env), { status: 0 }, 'a damaged one is fetched anew')
  t.ok(readFileSync(join(folder, 'good.onnx')).equals(bytes))
})

t.test('a wrong checksum, no network, an unknown name: each a sentence', async (t) => {
  const { folder, env } = folderOf(t)
  await served(t, folder)
  t.match(await sightline(t, ['models', 'pull', 'forged'], env), {
    status: 65,
    code: 'CHECKSUM_WRONG',
    sentence: /forged/,
  })
  t.match(await sightline(t, ['models', 'pull', 'away'], env), {
    status: 69,
    code: 'DOWNLOAD_FAILED',
    sentence: /there is no network.*sightline models pull away --from FOLDER/,
  })
  t.match(await sightline(t, ['models', 'pull', 'nobody'], env), {
    status: 66,
    code: 'MODEL_NOT_FOUND',
    sentence: /"nobody".*The catalogue has: .*good/,
  })
  t.match(await sightline(t, ['models', 'verify', 'away'], env), { status: 65, stdout: /not downloaded/ })
  for (const args of [['pull'], ['info'], ['list', 'x'], ['list', '--from', 'x'], ['fetch', 'good'], []])
    await t.rejects(models.run(args), { code: 'USAGE' }, args.join(' '))
})

t.test('pull --from takes the file with the right checksum, whatever its name', async (t) => {
  const { folder, env } = folderOf(t)
  const { bytes } = await served(t, folder)
  const offline = temporaryFolder(t)
  const from = ['models', 'pull', 'away', '--from', offline]
  t.match(await sightline(t, from, env), { status: 66, sentence: /Model away .* not found in the folder/ })
  writeFileSync(join(offline, 'away.onnx'), 'torn')
  t.match(await sightline(t, from, env), { status: 65, code: 'CHECKSUM_WRONG', sentence: /away\.onnx/ })
  writeFileSync(join(offline, 'copied from a stick.bin'), bytes)
  t.match(await sightline(t, from, env), { status: 0, stderr: '' })
  t.ok(readFileSync(join(folder, 'away.onnx')).equals(bytes))
  t.match(await sightline(t, ['models', 'pull', 'good', '--from', join(offline, 'none')], env), {
    status: 66,
    sentence: /cannot be read/,
  })
})

const MODELS = sharedData('models')
t.test(
  'the models of the catalogue are those that their makers publish',
  { skip: MODELS ? false : 'the shared test data has no models' },
  async (t) => {
    const { env } = folderOf(t)
    t.match(await sightline(t, ['models', 'pull', '--all', '--from', MODELS as string], env), {
      status: 0,
      stderr: '',
    })
    const { status, stdout } = await sightline(t, ['models', 'verify'], env)
    t.equal(status, 0)
    t.equal(stdout.match(/checksum correct/g)?.length, 8)
  },
)

t.test(
  'import takes a model that runs here, writes its entry, and keeps what stands in the catalogue',
  async (t) => {
    const { folder, env } = folderOf(t)
    const mine = join(temporaryFolder(t), 'My Model (v2).onnx')
    writeFileSync(mine, await convertBlazeface())
    writeFileSync(
      join(folder, 'catalog.yaml'),
      '# mine\nmodels:\n  - name: older # kept\n    file: older.onnx\n',
    )
    const imported = await sightline(t, ['models', 'import', mine, '--licence', 'my own'], env)
    t.match(imported, { status: 0, stderr: '', stdout: /^my-model-v2- \(blazeface, 256x256\)/ })
    const named = await sightline(t, ['models', 'import', mine, '--name', 'second'], env)
    t.equal(named.status, 0)
    const text = readFileSync(join(folder, 'catalog.yaml'), 'utf8')
    t.match(text, '# mine')
    t.match(text, '# kept')
    const { entries } = readCatalog(folder)
    t.match(entries.get('second'), {
      head: 'blazeface',
      file: 'second.onnx',
      input: { width: 256, free: true },
    })
    t.match(entries.get('my-model-v2-'), { licence: 'my own' })
    t.match(await sightline(t, ['models', 'verify', 'second'], env), {
      status: 0,
      stdout: /checksum correct/,
    })

    t.match(await sightline(t, ['models', 'import', mine, '--name', 'second'], env), {
      status: 73,
      code: 'FILE_EXISTS',
    })
    t.match(await sightline(t, ['models', 'import', mine, '--name', 'Ü'], env), {
      status: 65,
      code: 'NAME_INVALID',
    })
    const none = join(folder, 'none.onnx')
    writeFileSync(none, 'no model')
    t.match(await sightline(t, ['models', 'import', none], env), { status: 65, code: 'MODEL_UNUSABLE' })
    copyFileSync(mine, none)
    t.match(await sightline(t, ['models', 'import', none, '--head', 'yunet'], env), {
      status: 65,
      sentence: /none\.onnx is not a face detector that Sightline supports/,
    })
    t.notOk(readCatalog(folder).entries.has('none'))
  },
)

t.test('the bar shows how far it is', async (t) => {
  t.equal(barLine('it', 0, 2000), `it  [${'-'.repeat(30)}]  0 %  0 B of 2.0 KB`)
  t.equal(barLine('it', 1000, 2000), `it  [${'#'.repeat(15)}${'-'.repeat(15)}]  50 %  1.0 KB of 2.0 KB`)
  t.equal(barLine('it', 1000, undefined), 'it  1.0 KB')
})
