import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { ALTERED_MAX, ChainCheck, type Finding, SEGMENTS_MAX } from '../../lib/signatures/chain.ts'
import { readSigners } from '../../lib/signatures/folder.ts'
import { judge } from '../../lib/signatures/judge.ts'
import { sayFinding } from '../../lib/signatures/say.ts'
import { Signers } from '../../lib/signatures/signers.ts'
import { Verification } from '../../lib/signatures/verification.ts'
import { renewCertificate } from '../../lib/tls/authority.ts'
import { putSignature, SIGNATURE_CONTEXT, signedMessage, takeApart } from '../../wire/signature.ts'
import { openAuthority } from '../kit/certificates.ts'
import { makeClip } from '../kit/clips.ts'
import { makeCrop } from '../kit/crops.ts'
import { openSeal, type SignedFile, signedClip, signedCrop, signedRun } from '../kit/signed.ts'

const [home, other] = [await openAuthority(t), await openAuthority(t)]
const ofPi = await home.signer('home/pi')
const ofBench = await home.signer('lab/bench')
const foreign = await other.signer('home/pi')
const OF_PI = { site: 'home', device: 'pi', camera: 'door' }
const DAY_MS = 86_400_000

const signers = (folder = home.folder) => readSigners(folder)

/** @returns the verdicts in their order, and the findings */
function verify(files: readonly SignedFile[], by = signers()) {
  const verification = new Verification(by)
  const verdicts: string[] = []
  const findings: Finding[] = []
  for (const { payload, at } of files) {
    const said = verification.add(payload, at)
    verdicts.push(said.judged.verdict)
    findings.push(...said.findings.map(({ finding }) => finding))
  }
  findings.push(...verification.end().map(({ finding }) => finding))
  return { verdicts, findings, totals: verification.totals, said: findings.map(sayFinding) }
}

const flipped = (file: SignedFile, at: number): SignedFile => {
  const payload = Buffer.from(file.payload)
  payload[at] = (payload[at] as number) ^ 1
  return { ...file, payload }
}

function verdictOf(file: SignedFile, by = signers()) {
  const { verdict, sentence } = judge(file.payload, file.at, by)
  return { verdict, sentence }
}

t.test('what is signed is the context and the digest, 53 bytes', (t) => {
  const message = signedMessage(Buffer.alloc(32, 7))
  t.equal(message.length, 53)
  t.equal(message.toString('latin1', 0, 21), SIGNATURE_CONTEXT)
  t.end()
})

t.test('a crop and a clip say who signed them', (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  for (const file of [signedCrop(seal, OF_PI), signedClip(seal, OF_PI)])
    t.strictSame(verdictOf(file), { verdict: 'signed', sentence: 'Signed by home/pi.' })
  const plain = [
    { at: 'a.jpg', payload: makeCrop(OF_PI).payload },
    { at: 'a.mp4', payload: makeClip(OF_PI).payload },
  ]
  for (const file of plain) t.equal(verdictOf(file).verdict, 'unsigned')
  t.end()
})

t.test('not one bit can be changed, in picture, metadata or signature', (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  for (const [file, step] of [
    [signedCrop(seal, OF_PI), 1],
    [signedClip(seal, OF_PI), 7],
  ] as const) {
    for (let at = 0; at < file.payload.length; at += step) {
      const { verdict } = judge(flipped(file, at).payload, file.at, signers())
      if (verdict === 'signed') t.fail(`a bit of byte ${at} of ${file.at} was changed, and nobody noticed`)
    }
    const cut = { ...file, payload: file.payload.subarray(0, -1) }
    t.not(verdictOf(cut).verdict, 'signed')
    const longer = { ...file, payload: Buffer.concat([file.payload, Buffer.from([0])]) }
    t.not(verdictOf(longer).verdict, 'signed')
  }
  const file = signedCrop(seal, OF_PI)
  t.strictSame(verdictOf(flipped(file, file.payload.length - 10)), {
    verdict: 'changed',
    sentence: 'Changed since home/pi signed it.',
  })
  t.end()
})

t.test(
  'a signature written another way is none, so that no copy differs from the file that was signed',
  (t) => {
    const seal = openSeal(t, ofPi, 'home/pi')
    const { payload } = signedClip(seal, OF_PI)
    const { content, signature } = takeApart(payload)
    t.ok(signature)
    const json = JSON.stringify(signature)
    const [body] = content as [Buffer]
    for (const text of [`${json} `, json.replace(':', ': '), JSON.stringify({ ...signature, more: 1 })]) {
      const box = payload.subarray(body.length, body.length + 24)
      const whole = Buffer.concat([body, box, Buffer.from(text, 'latin1')])
      whole.writeUInt32BE(24 + text.length, body.length)
      t.equal(takeApart(whole).signature, undefined, text)
    }
    t.end()
  },
)

t.test('a signature that is removed, or put into another file, is noticed', (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  for (const make of [signedCrop, signedClip]) {
    const [one, two] = [make(seal, OF_PI), make(seal, OF_PI)]
    const bare = Buffer.concat(takeApart(one.payload).content)
    t.match(verdictOf({ ...one, payload: bare }), { verdict: 'changed', sentence: /signature was removed/ })
    const signature = takeApart(two.payload).signature
    if (!signature) throw new Error('it has none')
    t.equal(verdictOf({ ...one, payload: putSignature(bare, signature) }).verdict, 'changed')
    t.match(verdictOf({ at: one.at, payload: two.payload }), {
      verdict: 'elsewhere',
      sentence: /under the name of another/,
    })
    const key = `site/device/camera/2026/11/28/10/${one.at}`
    t.equal(judge(one.payload, key, signers()).verdict, make === signedCrop ? 'elsewhere' : 'signed')
  }
  t.end()
})

t.test(
  "another device's key, another authority's and a key without a certificate are told apart",
  async (t) => {
    const bench = openSeal(t, ofBench, 'lab/bench')
    t.match(verdictOf(signedCrop(bench, OF_PI)), {
      verdict: 'another device',
      sentence: 'Says that it is from home/pi, but lab/bench signed it.',
    })
    const forger = openSeal(t, foreign, 'home/pi')
    const forged = signedCrop(forger, OF_PI)
    t.match(verdictOf(forged), { verdict: 'unknown key', sentence: /unknown key/ })
    const pem = (file: string) => readFileSync(file, 'utf8')
    const given = new Signers({
      authorities: [pem(home.caFile)],
      certificates: [pem(ofPi.certFile), pem(foreign.certFile)],
    })
    t.equal(given.size, 1)
    t.match(verdictOf(forged, given), { verdict: 'unknown key', sentence: /another authority/ })
    // A client's certificate opens a connection, and signs nothing.
    const client = await home.client('pi')
    t.equal(new Signers({ authorities: [pem(home.caFile)], certificates: [pem(client.certFile)] }).size, 0)
  },
)

t.test('a file verifies by the certificate that was valid at its capture, also after renewal', async (t) => {
  const authority = await openAuthority(t)
  const old = await authority.signer('home/pi', { endedDaysAgo: 20 })
  const seal = openSeal(t, old, 'home/pi')
  const capturedAgo = (days: number, more = {}) =>
    signedCrop(seal, { ...OF_PI, ...more, capturedAtMs: Date.now() - days * DAY_MS })
  const [then, between, now] = [capturedAgo(25), capturedAgo(10), capturedAgo(0)]
  const verdicts = () => [then, between, now].map((it) => verdictOf(it, signers(authority.folder)).verdict)
  t.strictSame(verdicts(), ['signed', 'not valid then', 'not valid then'])
  t.match(
    verdictOf(now, signers(authority.folder)).sentence,
    /^Captured at .*; the certificate of home\/pi is/,
  )
  const unset = capturedAgo(10, { clockSane: false })
  t.match(verdictOf(unset, signers(authority.folder)), { verdict: 'signed', sentence: /clock was not set/ })
  await renewCertificate(authority.folder, 'signer.home.pi', { days: 30 })
  t.strictSame(verdicts(), ['signed', 'signed', 'signed'], 'and there is no hole between the two')
  // A new key: the old certificate stays for what was signed before.
  const renewed = await authority.signer('home/pi', { newKey: true })
  t.strictSame(verdicts(), ['signed', 'signed', 'signed'])
  t.equal(
    verdictOf(signedCrop(openSeal(t, renewed, 'home/pi'), OF_PI), signers(authority.folder)).verdict,
    'signed',
  )
  await t.rejects(authority.signer('home/pi'), { code: 'FILE_EXISTS', message: /--new-key/ })
})

t.test('a whole chain is whole, and says where it begins', (t) => {
  const files = signedRun(openSeal(t, ofPi, 'home/pi'), 10, OF_PI)
  const { verdicts, findings, totals } = verify(files)
  t.ok(verdicts.every((it) => it === 'signed'))
  t.match(findings, [{ is: 'begins', known: true, file: { at: files[0]?.at } }])
  t.equal(totals.wrong, 0)
  const part = verify(files.slice(4))
  t.match(part.findings, [{ is: 'begins', known: false }])
  t.match(part.said[0], /the one before is not among these files/)
  t.equal(part.totals.wrong, 0, 'the beginning of what was asked for is no hole')
  t.end()
})

t.test('a chunk that was cut out is missing: between which two, and how many', (t) => {
  const files = signedRun(openSeal(t, ofPi, 'home/pi'), 10, OF_PI)
  const { findings, totals, said } = verify(files.toSpliced(4, 2))
  t.match(findings[1], {
    is: 'missing',
    count: 2,
    after: { at: files[3]?.at },
    before: { at: files[6]?.at },
    stated: false,
  })
  t.match(said[1], /^2 files are missing between .*Z\) and .*Z\)\.$/)
  t.equal(totals.wrong, 1)
  t.end()
})

t.test('one that was changed is a hole in the chain, and the hole says so', (t) => {
  const files = signedRun(openSeal(t, ofPi, 'home/pi'), 5, OF_PI)
  const changed = flipped(files[2] as SignedFile, (files[2] as SignedFile).payload.length - 300)
  const { verdicts, findings } = verify(files.with(2, changed))
  t.equal(verdicts[2], 'changed')
  t.match(findings[1], { is: 'missing', count: 1, altered: 1 })
  t.end()
})

t.test('two chunks that were put into another order are told, and a copy is one', (t) => {
  const files = signedRun(openSeal(t, ofPi, 'home/pi'), 6, OF_PI)
  const [, , third, fourth] = files as [SignedFile, SignedFile, SignedFile, SignedFile]
  const { findings, totals } = verify(files.with(2, fourth).with(3, third))
  t.match(findings[0], { is: 'reordered', file: { at: third.at }, before: { at: fourth.at } })
  t.notOk(findings.some(({ is }) => is === 'missing'))
  t.equal(totals.wrong, 1)
  const swapped = files
    .with(2, { ...third, payload: fourth.payload })
    .with(3, { ...fourth, payload: third.payload })
  t.match(verify(swapped).verdicts, ['signed', 'signed', 'elsewhere', 'elsewhere', 'signed', 'signed'])
  const twice = verify([...files, { ...third, at: 'copy.mp4' }])
  t.match(twice.findings[0], { is: 'duplicate', file: { at: 'copy.mp4' }, of: third.at })
  t.equal(twice.totals.wrong, 0)
  t.end()
})

t.test('crops may come in any order: a best picture is published after it was taken', (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  const files = Array.from({ length: 20 }, () => signedCrop(seal, OF_PI))
  const { findings, totals } = verify(files.toReversed())
  t.match(findings, [{ is: 'begins', known: true }])
  t.equal(totals.wrong, 0)
  t.match(verify(files.toReversed().toSpliced(3, 1)).findings[1], { is: 'missing' })
  t.end()
})

t.test('a gap that the device states is no hole; only what it lost itself explains one', (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  const startMs = Date.now()
  const first = signedRun(seal, 3, { ...OF_PI, capturedAtMs: startMs })
  const lost = signedRun(seal, 2, { ...OF_PI, capturedAtMs: startMs + 9000 })
  const fromMs = startMs + 9000
  const rest = [
    signedClip(seal, { ...OF_PI, capturedAtMs: startMs + 60_000, gap: { fromMs, why: 'lost' } }),
    signedClip(seal, {
      ...OF_PI,
      capturedAtMs: startMs + 90_000,
      gap: { fromMs: startMs + 63_000, why: 'no faces' },
    }),
  ]
  const stated = verify([...first, ...rest])
  t.match(
    stated.findings.map(({ is }) => is),
    ['gap', 'gap', 'begins', 'missing'],
  )
  t.match(stated.findings[3], { is: 'missing', stated: true })
  t.equal(stated.totals.wrong, 0)
  t.match(
    verify([...first, ...lost, ...rest]).findings.map(({ is }) => is),
    ['gap', 'gap', 'begins'],
  )
  // Somebody takes one more away than the device says that it lost.
  const more = verify([...first.slice(0, -1), ...rest])
  t.match(more.findings[3], { is: 'missing', stated: false })
  t.equal(more.totals.wrong, 1)
  t.end()
})

t.test('cameras and kinds are chains of their own', (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  const files = Array.from({ length: 12 }, (_, n) => {
    const camera = { ...OF_PI, camera: `cam${n % 3}` }
    return n % 2 ? signedClip(seal, camera) : signedCrop(seal, camera)
  })
  const { findings, totals } = verify(files)
  t.equal(findings.length, 6)
  t.ok(findings.every((it) => it.is === 'begins' && it.known))
  t.equal(totals.wrong, 0)
  t.end()
})

t.test('memory is bounded, whatever is given', (t: Test) => {
  const chain = new ChainCheck()
  let missing = 0
  for (let n = 0; n < SEGMENTS_MAX * 1.5; n += 1) {
    const number = n.toString(16).padStart(12, '0')
    const digest = number.padEnd(64, '0')
    const previous = number.padEnd(64, 'f')
    missing += chain
      .add({ at: String(n), kind: 'clip', digest, previous, capturedAtMs: n })
      .filter(({ is }) => is === 'missing').length
    chain.altered(n)
  }
  t.ok(missing >= SEGMENTS_MAX / 2 - 1, `${missing} holes said before the end`)
  t.equal(missing + chain.end().filter(({ is }) => is === 'missing').length, SEGMENTS_MAX * 1.5 - 1)
  t.ok(ALTERED_MAX < SEGMENTS_MAX * 1.5)
  t.end()
})

t.test('a folder without an authority or a signer is refused in words', async (t) => {
  t.throws(() => readSigners('/nowhere'), { code: 'CERTIFICATE_NOT_FOUND' })
  const empty = await openAuthority(t)
  t.throws(() => readSigners(empty.folder), { code: 'CERTIFICATE_UNUSABLE', message: /certs signer/ })
})
