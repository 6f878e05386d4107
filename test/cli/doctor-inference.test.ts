import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../kit/programs.ts'
import { configFile, sightline } from './sightline.ts'

t.test("doctor opens an inference server's models, and says what is wrong with its tokens", async (t) => {
  const folder = temporaryFolder(t)
  const tokensFile = join(folder, 'tokens')
  writeFileSync(tokensFile, '# for the door\nshort\n', { mode: 0o644 })
  const file = configFile(
    t,
    {
      models: [{ model: 'blazeface', provider: 'cpu', threads: 1 }, { model: 'no-such-model' }],
      modelFolder: join(folder, 'models'),
      rest: { port: 0 },
      tokensFile,
      http: { port: 0 },
    },
    'inference.yaml',
  )
  const { status, stdout } = await sightline(t, ['doctor', '--config', file, '--json'])
  const found = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ subject }) => subject === `${file} (inference)`)
  const of = (what: string) => found.filter((it) => it.what === what)
  t.equal(status, 1)
  t.match(of(`tokens ${tokensFile}`), [{ level: 'FAIL', found: /a token must be 16/ }])
  t.match(of(`secret ${tokensFile}`), [{ level: 'warn', found: /every user of this machine can read it/ }])
  t.match(of('model blazeface'), [{ level: 'ok', found: /ONNX Runtime.*requests run together/ }])
  t.match(of('model no-such-model'), [{ level: 'FAIL', found: /Unknown model "no-such-model"/ }])
})
