import { spawnSync } from 'node:child_process'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { usersText } from '../../lib/access/users-file.ts'
import { cheapHash } from '../kit/passwords.ts'
import { accessServer, PASSWORD, PEOPLE } from './access-server.ts'

/** A users file that the console may only read: on a read-only mount, say. */

const CONFINED = 'confined'
/** Root may write everywhere, but for one who has given that up. */
const confine = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] as const
const isRoot = process.getuid?.() === 0 && !process.argv.includes(CONFINED)

if (isRoot && spawnSync(confine[0], [confine[1], 'true']).status === 0)
  t.spawn(confine[0], [confine[1], process.execPath, ...process.execArgv, import.meta.filename, CONFINED])

t.test(
  'where the users file cannot be changed, nobody is told that he could, and who tries learns why',
  {
    skip:
      (isRoot && 'root may write everywhere') || (process.platform === 'win32' && 'folders have no modes'),
  },
  async (t) => {
    const base = t.testdir({ people: {} })
    const people = join(base, 'people')
    const usersFile = join(people, 'users.yaml')
    writeFileSync(usersFile, usersText(PEOPLE.map((user) => ({ password: cheapHash(PASSWORD), ...user }))), {
      mode: 0o600,
    })
    const server = await accessServer(t, { folder: base, noUsersFile: true, access: { usersFile } })
    const ada = await server.signIn('ada')
    const canChange = async (browser = ada) => {
      const answers = await Promise.all(['/api/v1/users', '/api/v1/me'].map((path) => browser.get(path)))
      const [users, me] = (await Promise.all(answers.map((it) => it.json()))) as [
        { canChange: boolean },
        { changesPassword: boolean },
      ]
      return [users.canChange, me.changesPassword]
    }
    t.strictSame(await canChange(), [true, true])
    chmodSync(people, 0o500)
    t.strictSame(await canChange(), [false, false])
    const signedIn = await ada.send('POST', '/api/v1/session', { name: 'otto', password: PASSWORD })
    t.match(await signedIn.json(), { name: 'otto', changesPassword: false })
    const again = await server.signIn('ada')
    for (const [method, path, body] of [
      ['POST', 'users', { name: 'bob', role: 'viewer' }],
      ['PATCH', 'users/anna', { role: 'viewer' }],
      ['PUT', 'users/anna/password', {}],
      ['DELETE', 'users/anna', undefined],
      ['PUT', 'me/password', { current: PASSWORD, password: 'another password' }],
    ] as const) {
      const answer = await again.send(method, `/api/v1/${path}`, body)
      t.match(
        await answer.json(),
        {
          status: 409,
          code: 'FOLDER_UNWRITABLE',
          detail:
            'The users file cannot be changed here: its folder is read-only. Change it with sightline users where the file is.',
        },
        `${method} ${path}`,
      )
    }
    chmodSync(people, 0o700)
    t.equal((await again.send('POST', '/api/v1/users', { name: 'bob', role: 'viewer' })).status, 201)
    t.strictSame(await canChange(again), [true, true])
    // Somebody else is at it, or was and did not end well.
    writeFileSync(`${usersFile}.lock`, '')
    const busy = await again.send('DELETE', '/api/v1/users/bob')
    t.equal(busy.status, 409)
    t.notMatch(await busy.text(), base, 'no path of the machine')
    rmSync(`${usersFile}.lock`)
    writeFileSync(usersFile, 'users: [')
    const broken = await again.send('DELETE', '/api/v1/users/bob')
    t.match(await broken.json(), {
      status: 409,
      code: 'CONFIG_SYNTAX',
      detail: /cannot be read as it is now/,
    })
  },
)
