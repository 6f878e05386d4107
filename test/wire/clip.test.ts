import { generateKeyPairSync, sign, verify } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { readClip } from '../../wire/clip.ts'
import { CLIP, kindOfKey, parseKeptTopic } from '../../wire/kinds.ts'
import { objectKey, parseObjectKey } from '../../wire/object-key.ts'
import { putSignature, takeApart } from '../../wire/signature.ts'
import { makeClip } from '../kit/clips.ts'
import { makeCrop } from '../kit/crops.ts'

t.test('what a clip says of itself is read from its own file', async (t) => {
  const { metadata, payload } = makeClip({ faces: 2, motion: 0.5, gap: { fromMs: 5, why: 'camera down' } })
  t.same(readClip(payload), { clip: metadata })
})

t.test('a clip that is cut off anywhere, or changed, is none or says so', async (t) => {
  const { payload, metadata } = makeClip()
  for (let at = 0; at < payload.length; at += 97)
    t.match(readClip(payload.subarray(0, at)), { fault: String }, `cut at ${at}`)
  t.match(readClip(Buffer.from('not a video')), { fault: 'not an MP4' })
  const text = JSON.stringify(metadata)
  const newer = Buffer.from(payload)
  newer.write('"v":9', newer.indexOf('"v":1'))
  t.match(readClip(newer), { fault: 'metadata of a newer version' })
  t.ok(text.includes('initBytes'))
  const other = Buffer.from(payload)
  other.write('"initBytes":84', other.indexOf('"initBytes":8'))
  t.match(readClip(other), metadata.initBytes === 84 ? { clip: {} } : { fault: 'invalid metadata' })
})

t.test('no bytes make the reader throw', async () => {
  const { payload } = makeClip({}, 50)
  fc.assert(
    fc.property(fc.nat(payload.length - 1), fc.uint8Array({ maxLength: 20 }), (at, noise) => {
      const damaged = Buffer.from(payload)
      damaged.set(noise.subarray(0, damaged.length - at), at)
      readClip(damaged)
      takeApart(damaged)
    }),
    { numRuns: 2000 },
  )
})

t.test('recordings lie below a root of their own, which no site can have', async (t) => {
  const { metadata } = makeClip({ capturedAtMs: Date.UTC(2026, 10, 28, 10) })
  const key = objectKey(metadata, metadata.capturedAtMs, CLIP)
  t.equal(key, `recordings.private/site/device/camera/2026/11/28/10/${metadata.id}.mp4`)
  t.match(parseObjectKey(key), { kind: { name: 'clip' }, site: 'site', day: '2026-11-28', id: metadata.id })
  t.equal(kindOfKey(key)?.name, 'clip')
  t.equal(parseObjectKey(key.replace('recordings.private/', '')), undefined)
  t.equal(parseObjectKey(key.replace('.mp4', '.jpg')), undefined)
  t.match(parseKeptTopic('sightline/v1', 'sightline/v1/site/device/camera/clip'), { kind: { name: 'clip' } })
})

for (const [what, { payload }] of [
  ['crop', makeCrop()],
  ['clip', makeClip()],
] as const)
  t.test(`a signed ${what} is read as before, and what is signed is all but the signature`, async (t) => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const before = takeApart(payload)
    t.equal(before.signature, undefined)
    const content = Buffer.concat(before.content)
    t.ok(content.equals(payload))
    const signature = sign(null, content, privateKey).toString('base64')
    const signed = putSignature(Buffer.from(payload), { v: 1, key: 'a'.repeat(64), signature })
    const apart = takeApart(signed)
    t.ok(Buffer.concat(apart.content).equals(payload))
    t.ok(verify(null, content, publicKey, Buffer.from(apart.signature?.signature ?? '', 'base64')))
    if (what === 'clip') t.match(readClip(signed), { clip: { frames: 75 } })
  })
