import { appendFileSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t, { type Test } from 'tap'
import { Agent } from '../../device/agent.ts'
import { deviceSchema } from '../../device/config.ts'
import type { SigningSeal } from '../../device/link/sign.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { readSigners } from '../../lib/signatures/folder.ts'
import { Verification } from '../../lib/signatures/verification.ts'
import { readCrop } from '../../wire/crop.ts'
import { openAuthority } from '../kit/certificates.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { openSeal, type SignedFile, signedClip, signedCrop } from '../kit/signed.ts'
import { until } from '../kit/wait.ts'
import { BASE, startDevice, watch } from './commanded.ts'

const home = await openAuthority(t)
const ofPi = await home.signer('home/pi')
const OF_PI = { site: 'home', device: 'pi', camera: 'door' }
const log = openLog('test', 'silent')

function findings(files: readonly SignedFile[]) {
  const verification = new Verification(readSigners(home.folder))
  const said = files.flatMap(({ payload, at }) => verification.add(payload, at).findings)
  return {
    findings: [...said, ...verification.end()].map(({ finding }) => finding.is),
    totals: verification.totals,
  }
}

const previousOf = ({ payload }: SignedFile) => {
  const reading = readCrop(payload)
  return 'crop' in reading ? reading.crop.previous : undefined
}

t.test('the key file is readable by its owner alone', (t) => {
  t.equal(statSync(ofPi.keyFile).mode & 0o777, 0o600)
  t.end()
})

t.test('the chain goes on after a restart, also after one without a farewell', (t) => {
  const folder = temporaryFolder(t)
  const files: SignedFile[] = []
  for (let start = 0; start < 3; start += 1) {
    // Left open, as by a kill.
    const seal = openSeal(t, ofPi, 'home/pi', { folder })
    files.push(signedCrop(seal, OF_PI), signedClip(seal, OF_PI), signedCrop(seal, OF_PI))
    if (start === 1) seal[Symbol.dispose]()
  }
  t.match(findings(files), { findings: ['begins', 'begins'], totals: { wrong: 0 } })
  t.end()
})

t.test('a line that a crash cut off is passed over, and what was lost with it is said', (t) => {
  const folder = temporaryFolder(t)
  const seal = openSeal(t, ofPi, 'home/pi', { folder })
  const [one, two] = [signedCrop(seal, OF_PI), signedCrop(seal, OF_PI)]
  appendFileSync(join(folder, 'signed-home-pi.jsonl'), '{"camera":"door","kind":"cr')
  const again = openSeal(t, ofPi, 'home/pi', { folder })
  const three = signedCrop(again, OF_PI)
  t.strictSame(findings([one, two, three]).findings, ['begins'])
  // Signed, and never left: the next start's first names it.
  signedCrop(again, OF_PI)
  const five = signedCrop(openSeal(t, ofPi, 'home/pi', { folder }), OF_PI)
  t.match(findings([one, two, three, five]), { findings: ['begins', 'missing'], totals: { wrong: 1 } })
  t.end()
})

t.test(
  'a folder that was lost begins the chain anew, and one that went back forks it: neither is called forged',
  (t) => {
    const folder = temporaryFolder(t)
    const seal = openSeal(t, ofPi, 'home/pi', { folder })
    const file = join(folder, 'signed-home-pi.jsonl')
    const now = Date.now()
    const crop = (by: SigningSeal, n: number) => signedCrop(by, { ...OF_PI, capturedAtMs: now + n })
    const one = crop(seal, 1)
    const saved = readFileSync(file)
    const two = crop(seal, 2)
    const old = temporaryFolder(t)
    appendFileSync(join(old, 'signed-home-pi.jsonl'), saved)
    const forked = crop(openSeal(t, ofPi, 'home/pi', { folder: old }), 3)
    const anew = crop(openSeal(t, ofPi, 'home/pi'), 4)
    t.equal(previousOf(anew), undefined)
    const found = findings([one, two, forked, anew])
    t.strictSame(found.findings.sort(), ['anew', 'begins', 'forked'])
    t.equal(found.totals.verdicts.signed, 4)
    t.equal(found.totals.wrong, 0)
    t.end()
  },
)

t.test('the file does not grow without end, and holds the last of each camera', (t) => {
  const folder = temporaryFolder(t)
  const seal = openSeal(t, ofPi, 'home/pi', { folder })
  const file = join(folder, 'signed-home-pi.jsonl')
  let largest = 0
  let last = signedCrop(seal, OF_PI)
  for (let n = 0; n < 2600; n += 1) {
    last = signedCrop(seal, { ...OF_PI, camera: n % 2 ? 'door' : 'yard' })
    if (n % 100 === 0) largest = Math.max(largest, statSync(file).size)
  }
  t.ok(largest <= 256_000, `${largest} bytes`)
  t.ok(statSync(file).size < 128_000, 'it was written anew')
  const next = signedCrop(openSeal(t, ofPi, 'home/pi', { folder }), OF_PI)
  t.match(findings([last, next]).findings, ['begins'])
  t.end()
})

t.test('where it cannot be saved, crops are signed all the same, and the log says so', (t) => {
  const lines: { msg: string }[] = []
  const memory = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const seal = openSeal(t, ofPi, 'home/pi', { folder: join(ofPi.keyFile, 'no-folder'), log: memory })
  const files = [signedCrop(seal, OF_PI), signedCrop(seal, OF_PI)]
  t.match(findings(files), { findings: ['begins'], totals: { wrong: 0 } })
  t.ok(lines.some(({ msg }) => /cannot be saved/.test(msg)))
  t.end()
})

t.test('files that do not fit are named, with what to do', async (t) => {
  const other = await home.signer('home/other')
  const client = await home.client('pi')
  const open = (files: object) => () => openSeal(t, { ...ofPi, ...files }, 'home/pi')
  for (const [files, says] of [
    [{ keyFile: '/nowhere' }, /named by signing\.keyFile, cannot be read/],
    [{ certFile: '/nowhere' }, /named by signing\.certFile, cannot be read/],
    [{ certFile: ofPi.keyFile }, /contains no certificate/],
    [{ keyFile: client.keyFile }, /contains no Ed25519 key/],
    [{ keyFile: other.keyFile }, /does not belong to the certificate/],
    [{ certFile: client.certFile }, /is no signer's certificate/],
    [other, /is for home\/other, and this device is home\/pi/],
  ] as const)
    t.throws(open(files), { code: 'CONFIG_INVALID', message: says }, says.source)
  const lines: { msg: string }[] = []
  const memory = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const expired = await home.signer('home/old', { endedDaysAgo: 1 })
  openSeal(t, expired, 'home/old', { log: memory })
  t.match(lines[0]?.msg, /has expired.*certs renew DIR signer\.home\.old/)
})

t.test('faces that are encoded at the same time are sealed one after the other', async (t) => {
  const seal = openSeal(t, ofPi, 'home/pi')
  const files: SignedFile[] = []
  const SIZE = { width: 320, height: 180 }
  const camera = async (name: string) => {
    const agent = new Agent({
      config: loadConfig(deviceSchema, {
        overrides: {
          site: 'home',
          device: 'pi',
          cameras: [{ name, source: 'script.mp4' }],
          emit: { mode: 'every', rateMax: 'unlimited' },
        },
      }),
      seal,
      detector: {
        model: 'script',
        runtime: 'none',
        scoreMin: 0.5,
        input: { ...SIZE, fit: 'letterbox' },
        // Of very different sizes: the small ones are ready first.
        detect: async () =>
          [150, 12, 90, 20].map((side, n) => ({
            box: [10 + 60 * n, 10, side, side] as const,
            score: 0.9,
            landmarks: [],
          })),
        async [Symbol.asyncDispose]() {},
      },
      meters: openMeters(openMetrics('test')),
      log,
      open: async () => ({
        name: 'script',
        live: false,
        lossless: true,
        async *[Symbol.asyncIterator]() {
          for (let n = 0; n < 15; n += 1)
            yield {
              sequence: n,
              capturedAtMs: Date.now(),
              atMs: n * 100,
              ...SIZE,
              scaled: { data: new Uint8Array(SIZE.width * SIZE.height * 3), ...SIZE },
              cut: async (_l: number, _t: number, width: number, height: number) =>
                Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7919) & 0xff),
              [Symbol.dispose]() {},
            }
        },
        async [Symbol.asyncDispose]() {},
      }),
      publisher: {
        offer: ({ payload }) => void files.push({ at: `${files.length}`, payload: Buffer.from(payload) }),
        room: async () => {},
        say: () => {},
      },
      onState: () => {},
    })
    await agent.run(new AbortController().signal)
  }
  await Promise.all([camera('door'), camera('yard')])
  t.equal(files.length, 2 * 15 * 4)
  t.match(findings(files), { findings: ['begins', 'begins'], totals: { wrong: 0 } })
  const digests = new Set(files.map(previousOf))
  t.equal(digests.size, files.length - 1, 'each names another one before; the first of each camera none')
})

t.test('a device signs what it sends, and its chain survives its restart', async (t: Test) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const authority = await openAuthority(t)
  const pair = await authority.signer('lab/bench1')
  const folder = temporaryFolder(t)
  const signing = { ...pair, folder }
  const first = await startDevice(t, broker.url, { signing })
  await until('crops', () => eye.of('crop').length > 10)
  await first.stop()
  const before = eye.of('crop').length
  await startDevice(t, broker.url, { signing })
  await until('crops again', () => eye.of('crop').length > before + 10)
  const verification = new Verification(readSigners(authority.folder))
  const said = eye.of('crop').map(({ payload }, n) => verification.add(payload, `${n}`))
  t.ok(said.every(({ judged }) => judged.verdict === 'signed'))
  t.strictSame(
    verification.end().map(({ finding }) => finding.is),
    ['begins'],
  )
})

t.test('without a key nothing is signed', (t) => {
  t.equal(loadConfig(deviceSchema, { overrides: {} }).signing, undefined)
  t.end()
})
