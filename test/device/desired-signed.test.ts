import { createPrivateKey, sign } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DesiredSigners } from '../../device/desired/signers.ts'
import { type Desired, signedText } from '../../wire/desired.ts'
import { openAuthority, type Pair } from '../kit/certificates.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { startDevice } from './commanded.ts'
import { broker, desired, publish } from './desired-kit.ts'

/** A device that asks for signed configurations. */

function signed(document: Desired, { certFile, keyFile }: Pair): Desired {
  const key = createPrivateKey(readFileSync(keyFile))
  const value = sign(null, Buffer.from(signedText(document)), key).toString('base64')
  return { ...document, signature: { value, certificate: readFileSync(certFile, 'utf8') } }
}

t.test('only what was signed by who may is taken, and on a restart as well', async (t) => {
  const { url, eye, applied, refused } = await broker(t)
  const authority = await openAuthority(t)
  const console = await authority.signer('console/main')
  const other = await authority.signer('lab/bench2')
  const expired = await authority.signer('console/old', { endedDaysAgo: 3 })
  const stranger = await (await openAuthority(t)).signer('console/main')
  const folder = join(temporaryFolder(t), 'signers')
  mkdirSync(folder)
  copyFileSync(authority.caFile, join(folder, 'ca.pem'))
  for (const [name, { certFile }] of Object.entries({ console, expired }))
    copyFileSync(certFile, join(folder, `signer.${name}.pem`))
  const settings = { remote: { folder: temporaryFolder(t), desired: { signers: folder } } }
  const device = await startDevice(t, url, settings)
  const content = { cameras: { card: { scoreMin: 0.8 } } }
  const first = signed(desired(1, content), console)
  await publish(eye.client, first)
  t.match(await applied(1), { allows: { signed: true }, effective: { cameras: { card: { scoreMin: 0.8 } } } })
  let version = 1
  const no = async (make: (document: Desired) => Desired, says: RegExp) => {
    version += 1
    await publish(eye.client, make(desired(version, { cameras: { card: { paused: true } } })))
    t.match(await refused(version), {
      applied: { version: 1 },
      refused: { code: 'DESIRED_UNSIGNED', message: says },
    })
  }
  await no((it) => it, /not signed/)
  await no((it) => signed(it, other), /does not know/)
  await no((it) => signed(it, stranger), /does not know/)
  await no((it) => signed(it, expired), /not valid now/)
  await no((it) => ({ ...it, signature: first.signature }), /not as console\/main signed it/)
  await no(
    (it) => ({ ...signed({ ...it, version: it.version + 1 }, console), version: it.version }),
    /not as/,
  )
  await no((it) => ({ ...it, signature: { value: 'AAAA', certificate: 'no' } }), /cannot be read/)
  await device.kill()
  eye.came.length = 0
  const again = await startDevice(t, url, settings)
  t.match(await applied(1), { effective: { cameras: { card: { scoreMin: 0.8 } } } })
  await again.kill()

  // Who asks for signatures from now on does not take what was kept without one.
  const plain = { remote: { folder: temporaryFolder(t) } }
  const open = await startDevice(t, url, plain)
  await publish(eye.client, desired(40, content))
  await applied(40)
  await open.kill()
  eye.came.length = 0
  await startDevice(t, url, { remote: { ...plain.remote, desired: { signers: folder } } })
  const it = await refused(40)
  t.match(it, { applied: null, refused: { code: 'DESIRED_UNSIGNED' } })
})

t.test(
  'an authority alone vouches for all that it has signed; none at all is said at the start',
  async (t) => {
    const authority = await openAuthority(t)
    const document = signed(desired(1, {}), await authority.signer('console/main'))
    const alone = DesiredSigners.open(authority.caFile)
    t.doesNotThrow(() => alone.check(document, Date.now()))
    t.throws(() => alone.check({ ...document, digest: 'a'.repeat(64) }, Date.now()), {
      code: 'DESIRED_UNSIGNED',
    })
    t.throws(() => DesiredSigners.open(temporaryFolder(t)), { code: 'CERTIFICATE_UNUSABLE' })
    t.throws(() => DesiredSigners.open('/nowhere'), { code: 'CERTIFICATE_NOT_FOUND' })
    const client = await authority.client('console')
    t.throws(() => alone.check(signed(desired(1, {}), client), Date.now()), { code: 'DESIRED_UNSIGNED' })
  },
)
