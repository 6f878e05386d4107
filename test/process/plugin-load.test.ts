import { join } from 'node:path'
import t from 'tap'
import { openPlugin } from '../../device/process/plugin-open.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { logged, moduleOf, opening } from './plugged.ts'

/** What is wrong with a plugin is said at the start, with file and line. */

const opened = async (module: string, limits = {}) =>
  await openPlugin({ name: 'mine', module }, logged().log, limits).then(
    async (plugin) => {
      await plugin[Symbol.asyncDispose]()
      return undefined
    },
    (error: unknown) => error,
  )

for (const [what, source, why] of [
  [
    'throws when it is loaded',
    '\nthrow new Error("no licence")\n',
    /cannot be loaded: no licence \(.*plugin\.ts:2\)\.$/,
  ],
  ['is no code', 'export default {\n  version: "1",\n  open( {\n', /cannot be loaded: .*plugin\.ts:\d/],
  ['has types that cannot be stripped', 'enum A { B }\nexport default A', /cannot be loaded: .*enum/],
  ['imports what is not there', 'import "./nowhere.ts"', /cannot be loaded: .*nowhere\.ts/],
  ['imports a package that is not there', 'import "no-such-package"', /cannot be loaded: .*no-such-package/],
  ['exports nothing', 'export const version = 1', /has no "export default/],
  ['has no version', 'export default { open() {} }', /"version" must be a text/],
  [
    'has a version with markup of terminals',
    'export default { version: "\\u001b[31m", open() {} }',
    /"version" must/,
  ],
  [
    'wants frames of another kind',
    'export default { version: "1", frames: "huge", open() {} }',
    /"frames" must/,
  ],
  ['gives nothing', opening(''), /open\(\) gave no object/],
  ['does nothing', opening('return {}'), /it would do nothing/],
  ['gives what is no function', opening('return { crop: 1 }'), /"crop" of what open\(\) gave/],
  [
    'throws in open',
    opening('\nthrow new TypeError("settings.limit must be a number")'),
    /open\(\) failed: settings\.limit must be a number \(.*plugin\.ts:2\)\.$/,
  ],
  ['rejects in open', opening('return Promise.reject("no")'), /open\(\) failed: it threw no\.$/],
  ['exits when it is loaded', 'process.exit(0)', /its thread ended by itself|Its thread ended by itself/],
  [
    'throws from a timer while it opens',
    opening('setTimeout(() => { throw new Error("later") }, 5); return new Promise(() => {})'),
    /later/,
  ],
] as const)
  t.test(`a module that ${what}`, async (t) => {
    const file = moduleOf(t, source)
    const error = await opened(file)
    t.match(error, { code: 'PLUGIN_UNUSABLE', exitStatus: 65, message: why })
    t.ok(`${error}`.includes(file), 'says which file')
  })

t.test('a module that blocks when it is loaded, or never opens', async (t) => {
  const limits = { openMsMax: 500 }
  for (const source of ['for (;;);', opening('return new Promise((resolve) => setInterval(resolve, 1e8))')])
    t.match(await opened(moduleOf(t, source), limits), {
      code: 'PLUGIN_UNUSABLE',
      message: /did not open within 500 ms/,
    })
})

t.test('a module that is not there, is a folder, or is of another kind', async (t) => {
  const folder = temporaryFolder(t)
  t.match(await opened(join(folder, 'no.ts')), { code: 'PLUGIN_NOT_FOUND', exitStatus: 66 })
  t.match(await opened(folder), { code: 'PLUGIN_UNUSABLE' })
  t.match(await opened(moduleOf(t, '', 'plugin.py')), { code: 'PLUGIN_UNUSABLE' })
})

t.test('TypeScript and JavaScript, with and without the contract', async (t) => {
  const contract = "import { definePlugin } from 'sightline/plugin'\n"
  const body = 'definePlugin({ version: "1", open: () => ({ crop: () => [] }) })'
  t.equal(await opened(moduleOf(t, `${contract}const it: object = ${body}\nexport default it`)), undefined)
  t.equal(await opened(moduleOf(t, `${contract}export default ${body}`, 'plugin.mjs')), undefined)
  const talks = 'for (let n = 0; n < 3; n += 1) context.log.warn("opening"); return { crop() {} }'
  t.equal(await opened(moduleOf(t, opening(talks))), undefined, 'it may log while it opens')
  t.equal(await opened(moduleOf(t, opening('return { picture: ({ rgb }) => rgb }'), 'plugin.js')), undefined)
})
