import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { INCOMING } from '../../lib/buckets/folder.ts'
import { readSigners } from '../../lib/signatures/folder.ts'
import { judge } from '../../lib/signatures/judge.ts'
import { CLIP, CROP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import { openAuthority } from '../kit/certificates.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { openSeal, type SignedFile, signedCrop, signedRun } from '../kit/signed.ts'
import { configFile, sightline } from './sightline.ts'

const home = await openAuthority(t)
const pair = await home.signer('home/pi')
const OF_PI = { site: 'home', device: 'pi', camera: 'door' }
const by = ['--certs', home.folder]

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

function folderOf(t: Test, files: readonly SignedFile[]) {
  const folder = temporaryFolder(t)
  mkdirSync(folder, { recursive: true })
  for (const { at, payload } of files) writeFileSync(join(folder, at), payload)
  return folder
}

const inOrder = (files: readonly SignedFile[]) => files.toSorted((a, b) => (a.at < b.at ? -1 : 1))

t.test('files, folders and patterns: all is well, and the exit status says so', async (t) => {
  const files = inOrder(signedRun(openSeal(t, pair, 'home/pi'), 4, { ...OF_PI }))
  const folder = folderOf(t, files)
  for (const names of [[folder], files.map(({ at }) => join(folder, at)), [join(folder, '*.mp4')]]) {
    const { status, stdout, stderr } = await sightline(t, ['verify', ...by, ...names])
    t.match({ status, stderr }, { status: 0, stderr: '' })
    t.match(stdout, /^signed +\S+\.mp4\n +Signed by home\/pi\.$/m)
    t.match(stdout, /^home\/pi\/door +clips +4 +4 +0 +0 +0 /m)
    t.match(stdout, /^4 files: all signed and unchanged, and none is missing between/m)
  }
})

t.test('what is wrong is named, and the exit status is 1', async (t) => {
  const files = inOrder(signedRun(openSeal(t, pair, 'home/pi'), 6, { ...OF_PI }))
  const folder = folderOf(t, files)
  const [, second, , fourth] = files as SignedFile[]
  rmSync(join(folder, (second as SignedFile).at))
  const changed = Buffer.from((fourth as SignedFile).payload)
  changed[changed.length - 400] = (changed[changed.length - 400] as number) ^ 1
  writeFileSync(join(folder, (fourth as SignedFile).at), changed)
  const { status, stdout } = await sightline(t, ['verify', ...by, folder])
  t.equal(status, 1)
  t.match(stdout, /^changed +\S+\n +Changed since home\/pi signed it\.$/m)
  t.match(stdout, /^missing +home\/pi\/door, clips\n +One file is missing between /m)
  t.match(stdout, /1 from that time is here, but not as signed\./)
  t.match(stdout, /^5 files: 3 things are wrong\.$/m)
  const json = lines((await sightline(t, ['verify', ...by, '--json', folder])).stdout)
  t.equal(json.filter(({ is }) => is === 'file').length, 5)
  t.equal(json.filter(({ finding, wrong }) => finding === 'missing' && wrong === true).length, 2)
  t.match(json.at(-1), { is: 'totals', files: 5, wrong: 3, verdicts: { signed: 4, changed: 1 } })
})

t.test('a bucket is looked through day by day, in the time that is asked for', async (t) => {
  const seal = openSeal(t, pair, 'home/pi')
  const startMs = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 30_000
  const clips = signedRun(seal, 20, { ...OF_PI, capturedAtMs: startMs })
  const crops = Array.from({ length: 5 }, (_, n) => signedCrop(seal, { ...OF_PI, capturedAtMs: startMs + n }))
  const bucket = temporaryFolder(t)
  const put = ({ payload, at }: SignedFile) => {
    const { claims } = judge(payload, at, readSigners(home.folder))
    if (!claims) throw new Error('unreadable')
    const file = join(bucket, objectKey(claims, claims.capturedAtMs, at.endsWith('mp4') ? CLIP : CROP))
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, payload)
    return file
  }
  mkdirSync(join(bucket, INCOMING), { recursive: true })
  const written = clips.map(put)
  crops.forEach(put)
  const config = configFile(t, { bucket: { path: bucket }, inbox: { folder: temporaryFolder(t) } })
  const of = [...by, '--config', config, '--camera', 'home/pi/door']
  const whole = await sightline(t, ['verify', ...of])
  t.match(whole, { status: 0, stderr: '' })
  t.match(whole.stdout, /^home\/pi\/door +crops +5 +5 /m)
  t.match(whole.stdout, /^home\/pi\/door +clips +20 +20 /m)
  t.notMatch(whole.stdout, /^signed /m, 'only what is wrong is named')
  const from = new Date(startMs + 31_000).toISOString()
  const part = lines((await sightline(t, ['verify', ...of, '--from', from, '--json'])).stdout)
  t.equal(part.filter(({ is, kind }) => is === 'file' && kind === 'clip').length, 10)
  t.match(
    part.find(({ finding }) => finding === 'begins'),
    { known: false },
  )
  rmSync(written[7] as string)
  const cut = await sightline(t, ['verify', ...of])
  t.equal(cut.status, 1)
  t.match(cut.stdout, /One file is missing between recordings\.private\/home\/pi\/door\//)
  const other = await sightline(t, ['verify', ...by, '--config', config, '--camera', 'home/pi/yard'])
  t.match(other, { status: 66, code: 'CROP_NOT_FOUND' })
})

t.test('what is no file of ours, and what is wrongly asked for, is said in words', async (t) => {
  const folder = folderOf(t, [{ at: 'notes.mp4', payload: Buffer.from('no clip') }])
  const junk = await sightline(t, ['verify', ...by, folder])
  t.equal(junk.status, 1)
  t.match(junk.stdout, /^unreadable +\S+notes\.mp4\n +Cannot be read: not an MP4/m)
  writeFileSync(join(folder, 'large.mp4'), Buffer.alloc(CLIP.payloadBytesMax + 1))
  t.match((await sightline(t, ['verify', ...by, folder])).stdout, /has 15500001 bytes/)
  for (const [args, code] of [
    [['verify', ...by], 'USAGE'],
    [['verify', 'a.jpg'], 'USAGE'],
    [['verify', ...by, 'a.jpg', '--camera', 'a/b/c'], 'USAGE'],
    [['verify', ...by, '--camera', 'a/b'], 'USAGE'],
    [['verify', ...by, '--camera', 'a/b/c', '--from', 'yesterday'], 'USAGE'],
    [['verify', ...by, 'a.jpg', '--from', '2026-11-28'], 'USAGE'],
    [['verify', ...by, '/nowhere/a.jpg'], 'SOURCE_NOT_FOUND'],
    [['verify', '--certs', '/nowhere', folder], 'CERTIFICATE_NOT_FOUND'],
  ] as const)
    t.match(await sightline(t, [...args]), { code }, args.join(' '))
})

t.test('sightline certs makes a signer, and says how to use it', async (t) => {
  const { status, stdout } = await sightline(t, ['certs', 'signer', home.folder, 'home/yard', '--days', '30'])
  t.equal(status, 0)
  t.match(stdout, /signer\.home\.yard\.pem {3}for the device home\/yard/)
  t.match(stdout, /signing:\n +certFile: \S+signer\.home\.yard\.pem\n +keyFile: /)
  t.match(
    (await sightline(t, ['certs', 'list', home.folder])).stdout,
    /^signer\.home\.yard\.pem +signer .* home\/yard$/m,
  )
  t.match(await sightline(t, ['certs', 'signer', home.folder, 'home/yard']), { code: 'FILE_EXISTS' })
  t.match(await sightline(t, ['certs', 'signer', home.folder, 'yard']), { code: 'USAGE' })
  const renewed = await sightline(t, ['certs', 'renew', home.folder, 'signer.home.yard', '--days', '60'])
  t.match(renewed, { status: 0, stdout: /The old one stays beside it/ })
  t.match(readFileSync(join(home.folder, 'signer.home.yard.key'), 'utf8'), /PRIVATE KEY/)
})
