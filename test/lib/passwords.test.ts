import t from 'tap'
import { FailedLogins, Logins } from '../../lib/access/logins.ts'
import { hashPassword, isPasswordHash, PasswordVerifier } from '../../lib/access/passwords.ts'
import { cheapHash } from '../kit/passwords.ts'

const bytes = (text: string) => Buffer.from(text)

/** How long it took, ms. */
async function timed<T>(work: () => Promise<T>): Promise<{ result: T; ms: number }> {
  const start = performance.now()
  const result = await work()
  return { result, ms: performance.now() - start }
}

t.test('a hash is salted, tells the right password from others, and says how it was made', async (t) => {
  const [one, two] = await Promise.all([hashPassword('Grüße, 1 2 3'), hashPassword('Grüße, 1 2 3')])
  t.match(one, /^\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  t.not(one, two)
  const verifier = new PasswordVerifier()
  t.equal(await verifier.verify('a', one, bytes('Grüße, 1 2 3')), 'right')
  t.equal(await verifier.verify('a', two, bytes('Grüße, 1 2 4')), 'wrong')
  await t.rejects(hashPassword(''), { code: 'USAGE' })
  await t.rejects(hashPassword('x'.repeat(1025)), { code: 'USAGE' })
})

t.test('a hash that would cost too much, or nearly nothing, is none', async (t) => {
  const rest = cheapHash('x').replace(/^\$scrypt\$[^$]*/, '')
  for (const fine of ['ln=10,r=8,p=1', 'ln=16,r=8,p=1', 'ln=15,r=8,p=3', 'ln=14,r=32,p=1'])
    t.ok(isPasswordHash(`$scrypt$${fine}${rest}`), fine)
  for (const bad of [
    'ln=17,r=8,p=1',
    'ln=20,r=8,p=1',
    'ln=16,r=16,p=1',
    'ln=99,r=8,p=1',
    'ln=15,r=8,p=9',
    'ln=15,r=0,p=1',
    'ln=15,r=8,p=0',
    'ln=9,r=8,p=1',
    'ln=-1,r=8,p=1',
    'ln=1e1,r=8,p=1',
    'ln=15,r=8',
  ])
    t.notOk(isPasswordHash(`$scrypt$${bad}${rest}`), bad)
  const whole = cheapHash('x')
  for (const bad of [
    '',
    'x',
    whole.slice(0, -30),
    `${whole}\n`,
    ` ${whole}`,
    whole.replace('scrypt', 'argon2id'),
  ])
    t.notOk(isPasswordHash(bad), bad)
})

t.test('a password that was right is not computed again, until it changes', async (t) => {
  const verifier = new PasswordVerifier()
  const hash = cheapHash('first')
  t.equal(await verifier.verify('pi', hash, bytes('first')), 'right')
  const guesses = Array.from({ length: 40 }, (_, n) => verifier.verify('x', hash, bytes(`${n}`)))
  t.equal(await verifier.verify('pi', hash, bytes('first')), 'right', 'not even where no others are taken')
  t.ok((await Promise.all(guesses)).includes('busy'))
  t.equal(await verifier.verify('pi', hash, bytes('second')), 'wrong')
  t.equal(await verifier.verify('other', hash, bytes('second')), 'wrong')
  t.equal(
    await verifier.verify('pi', cheapHash('second'), bytes('first')),
    'wrong',
    'the old one is worthless',
  )
  t.equal(await verifier.verify('pi', cheapHash('second'), bytes('second')), 'right')
  t.equal(await verifier.verify('pi', undefined, bytes('second')), 'wrong', 'a user that is gone')
})

t.test('a thousand at once with one password cost one computation', async (t) => {
  const verifier = new PasswordVerifier()
  const hash = cheapHash('secret')
  const answers = await Promise.all(
    Array.from({ length: 1000 }, () => verifier.verify('pi', hash, bytes('secret'))),
  )
  t.strictSame([...new Set(answers)], ['right'], 'and none is told to come again')
})

t.test('so many are computed and so many wait, and the rest is told at once', async (t) => {
  const verifier = new PasswordVerifier()
  const hash = cheapHash('secret')
  const ask = (n: number) => verifier.verify('pi', hash, bytes(`guess ${n}`))
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => ask(n)))
  t.equal(answers.filter((answer) => answer === 'wrong').length, 2 + 32)
  t.equal(answers.filter((answer) => answer === 'busy').length, 66)
  t.equal(await ask(0), 'wrong', 'and then there is room again')
  t.equal(await verifier.verify('pi', hash, bytes('secret')), 'right')
})

t.test('time does not tell who exists', async (t) => {
  const verifier = new PasswordVerifier()
  const hash = cheapHash('secret', 15)
  t.equal(await verifier.verify('pi', hash, bytes('secret')), 'right')
  const known = await timed(() => verifier.verify('pi', hash, bytes('wrong')))
  const others = [
    await timed(() => verifier.verify('nobody', undefined, bytes('secret'))),
    await timed(() => verifier.verify('plain', 'a password in the configuration', bytes('secret'))),
  ]
  for (const { result, ms } of others) {
    t.equal(result, 'wrong')
    t.ok(ms > known.ms / 4, `${ms.toFixed(0)} ms, and ${known.ms.toFixed(0)} ms for one that exists`)
  }
  t.equal(await verifier.verify('plain', 'in the open', bytes('in the open')), 'right')
})

t.test('after ten failures within a minute an address is not listened to until it is over', async (t) => {
  const failed = new FailedLogins()
  for (let n = 0; n < 10; n += 1) {
    t.equal(failed.tooMany('10.0.0.1', 'pi', 1000), false)
    failed.add('10.0.0.1', 'pi', 1000 + n)
  }
  t.equal(failed.tooMany('10.0.0.1', 'pi', 60_999), true)
  t.equal(failed.tooMany('::ffff:10.0.0.1', 'pi', 60_999), true, 'the same in other letters')
  t.equal(failed.tooMany('10.0.0.2', 'pi', 1000), false, 'nobody else')
  t.equal(failed.tooMany('10.0.0.1', 'camera', 1000), false, 'nor others behind the same address')
  for (let n = 0; n < 90; n += 1) failed.add('10.0.0.1', `guess ${n}`, 1000)
  t.equal(failed.tooMany('10.0.0.1', 'camera', 1000), true, 'unless many names were tried')
  t.equal(failed.tooMany('10.0.0.1', 'pi', 61_000), false)
  for (let n = 0; n < 10; n += 1) failed.add(`2001:db8:0:7::${n}`, 'pi', 0)
  t.equal(failed.tooMany('2001:0db8::7:a:b:c:d', 'pi', 1), true, 'who has one address has its whole /64')
  t.equal(failed.tooMany('2001:db8:0:8::1', 'pi', 1), false)
  for (let n = 0; n < 10_000; n += 1) failed.add(`10.1.${n >> 8}.${n & 255}`, 'pi', 2)
  t.equal(failed.tooMany('2001:db8:0:7::1', 'pi', 3), false, 'its memory has an end')
})

t.test('an address with too many failures does not get in with the right password either', async (t) => {
  const logins = new Logins()
  const secret = cheapHash('the right one')
  const login = (password: string, address: string) =>
    logins.check({ name: 'pi', password: bytes(password), secret, address })
  t.equal(await login('the right one', '10.0.0.1'), 'right')
  for (let n = 0; n < 10; n += 1) t.equal(await login(`guess ${n}`, '10.0.0.1'), 'wrong')
  t.equal(await login('the right one', '10.0.0.1'), 'busy', 'or guessing would be free')
  t.equal(await login('the right one', '10.0.0.2'), 'right')
})
