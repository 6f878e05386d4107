import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import { partOf } from '../../pack/graph.ts'
import { layOut, programPart } from '../../pack/image.ts'
import { edgesOf, toJavaScript } from '../../pack/javascript.ts'
import { type Lock, subsetOf } from '../../pack/lock.ts'
import { PROGRAMS } from '../../pack/parts.ts'
import { temporaryFolder } from '../kit/programs.ts'

const ROOT = resolve(import.meta.dirname, '..', '..')

/** What a program must not drag along, whatever imports it. */
const FORBIDDEN = {
  broker:
    /^(node-av|@seydx\/|onnxruntime-|sharp$|@img\/|@aws-sdk\/|@tensorflow\/|@vladmandic\/|dockerode$|mqtt$|kysely$|pg$|preact$|@preact\/|uplot$|openid-client$|web-push$|nodemailer$|@marcbachmann\/|@fastify\/swagger)/,
  subscriber:
    /^(node-av|@seydx\/|onnxruntime-|sharp$|@img\/|@tensorflow\/|@vladmandic\/|dockerode$|aedes$|kysely$|pg$|preact$|@preact\/|uplot$|openid-client$|web-push$|nodemailer$|@marcbachmann\/|@fastify\/swagger)/,
  device:
    /^(@aws-sdk\/|@smithy\/|aedes$|@vladmandic\/|dockerode$|kysely$|pg$|preact$|@preact\/|uplot$|openid-client$|web-push$|nodemailer$|@marcbachmann\/|@fastify\/swagger)/,
  console:
    /^(node-av|@seydx\/|onnxruntime-|sharp$|@img\/|@tensorflow\/|@vladmandic\/|dockerode$|aedes$|mqtt$|smtp-server$|typescript$)/,
  inference:
    /^(node-av|@seydx\/|sharp$|@img\/|@aws-sdk\/|@smithy\/|aedes$|mqtt$|lmdb$|werift$|@vladmandic\/|dockerode$|kysely$|pg$|preact$|@preact\/|uplot$|openid-client$|web-push$|nodemailer$|@marcbachmann\/|@fastify\/swagger)/,
} as const

t.test('an image holds what its program imports, and nothing of the other programs', async (t) => {
  const out = temporaryFolder(t)
  layOut(ROOT, out)
  for (const [name, forbidden] of Object.entries(FORBIDDEN)) {
    const lock = JSON.parse(readFileSync(join(out, name, 'npm', 'package-lock.json'), 'utf8')) as Lock
    const packages = Object.keys(lock.packages).map((place) => place.replace(/^.*node_modules\//, ''))
    t.strictSame(
      packages.filter((it) => forbidden.test(it)),
      [],
      `${name}: packages`,
    )
    const app = join(out, name, 'app')
    const mains = globSync('{broker,cloud-subscriber,console,device,inference,demo}/main.js', { cwd: app })
    const own = mains.filter((file) => !readFileSync(join(app, file), 'utf8').includes('NOT_INCLUDED'))
    t.strictSame(own, [`${name === 'subscriber' ? 'cloud-subscriber' : name}/main.js`], `${name}: programs`)
    for (const file of globSync('**/*.js', { cwd: app })) {
      if (file.startsWith('device/listen/page/')) continue // for browsers: its paths are addresses
      for (const { kind, to } of edgesOf(readFileSync(join(app, file), 'utf8'), '.js'))
        if (to.startsWith('.') && kind !== 'file')
          // A page finds what it shares with other pages at its own address.
          t.ok(
            [dirname(file), ...(/\/page\//.test(file) ? ['lib/browser'] : [])].some((folder) =>
              existsSync(join(app, folder, to)),
            ),
            `${name}: ${file} finds ${to}`,
          )
    }
    t.strictSame(globSync('**/*.ts', { cwd: app }), [], `${name}: no TypeScript`)
  }
  for (const file of [
    'device/listen/page/index.html',
    'device/listen/page/publish.js',
    'lib/browser/publisher.js',
  ])
    t.ok(existsSync(join(out, 'device', 'app', file)), `device: ${file}`)
  // What makes the pages installable has to be in the image that they are compiled in.
  for (const file of ['service-worker.js', 'offline.css', 'icon.svg', 'icon-192.png', 'icon-badge-96.png'])
    t.ok(existsSync(join(out, 'pages', 'app', 'console', 'pages', file)), `pages: ${file}`)
  for (const name of ['catalog.js', 'catalog.yaml'])
    t.ok(
      existsSync(join(out, 'device', 'app', 'models', name)),
      `device: models/${name}, which it may be told to pull`,
    )
  const { dependencies } = JSON.parse(readFileSync(join(out, 'device', 'npm', 'package.json'), 'utf8'))
  for (const name of ['werift', 'lmdb']) t.ok(name in dependencies, `device: ${name}`)
})

t.test('the part of the lock is whole: npm finds everything in it that a package needs', async (t) => {
  const out = temporaryFolder(t)
  layOut(ROOT, out)
  for (const name of [...Object.keys(PROGRAMS), 'model', 'pages']) {
    const lock = JSON.parse(readFileSync(join(out, name, 'npm', 'package-lock.json'), 'utf8')) as Lock
    const file = JSON.parse(readFileSync(join(out, name, 'npm', 'package.json'), 'utf8'))
    t.strictSame(lock.packages['']?.dependencies, file.dependencies, `${name}: as package.json`)
    for (const [place, { dependencies = {} }] of Object.entries(lock.packages))
      for (const needed of Object.keys(dependencies)) {
        const parts = place === '' ? [] : place.split('/node_modules/')
        const found = [...parts.keys(), -1].some((at) =>
          Object.hasOwn(
            lock.packages,
            `${at < 0 ? '' : `${parts.slice(0, at + 1).join('/node_modules/')}/`}node_modules/${needed}`,
          ),
        )
        t.ok(found, `${name}: ${needed} of ${place || 'the root'}`)
      }
  }
})

t.test(
  "the console's image has what browsers are given: its libraries, and pages that it need not compile",
  async (t) => {
    const out = temporaryFolder(t)
    layOut(ROOT, out)
    const { dependencies } = JSON.parse(readFileSync(join(out, 'console', 'npm', 'package.json'), 'utf8'))
    const named = readFileSync(join(ROOT, 'console/pages.ts'), 'utf8')
      .match(/const LIBRARIES = \{[\s\S]*?\n\}/)?.[0]
      .matchAll(/import\.meta\.resolve\('((?:@[^/']+\/)?[^/']+)|beside\('((?:@[^/']+\/)?[^/']+)'/g)
    const libraries = new Set([...(named ?? [])].map(([, resolved, beside]) => resolved ?? beside ?? ''))
    t.ok(libraries.size >= 3, [...libraries].join())
    for (const library of libraries) t.ok(library in dependencies, library)
    t.notOk('typescript' in dependencies)

    // As docker/Dockerfile does it, with the packages of this folder in place of those that npm would bring.
    const app = join(out, 'pages', 'app')
    symlinkSync(join(ROOT, 'node_modules'), join(app, 'node_modules'))
    // Without the test runner's own loader, which it hands to all that a test starts.
    const bare = ['-i', `PATH=${process.env.PATH}`, process.execPath, 'console/pages-build.js', 'made']
    const { status, stderr } = spawnSync('env', bare, { cwd: app, encoding: 'utf8' })
    t.equal(status, 0, stderr)
    t.ok(existsSync(join(app, 'made', 'main.js')))
    t.strictSame(globSync('**/*.{ts,tsx}', { cwd: join(app, 'made') }), [])
  },
)

t.test('a package that is imported and not named in package.json is an error', async (t) => {
  const lock = { lockfileVersion: 3, packages: {} }
  const file = { name: 'x', version: '1.0.0', dependencies: {} }
  t.throws(
    () => subsetOf(file, lock, ['left-pad']),
    /left-pad is imported, and package.json does not name it/,
  )
})

t.test('what is imported at once cannot be left out, and the error says who imports it', async (t) => {
  t.throws(
    () => programPart(ROOT, { ...PROGRAMS.broker, without: [...PROGRAMS.broker.without, 'lmdb'] }),
    /store\/.* imports lmdb at once, which this part is to do without/,
  )
  t.throws(
    () => partOf({ root: ROOT, entries: ['nowhere.ts'], leavesOut: () => false }),
    /names nowhere\.ts, which does not exist/,
  )
})

t.test('imports are found as they are written, and not in comments and strings', async (t) => {
  const code = `import a from './a.ts'
import {
  b,
} from "b"
export * from './c.ts'
import './d.css'
/** \`import('./no.ts')\` and
 * import x from './no.ts' */
// import y from './no.ts'
export const e = { from: './no.ts' }
export function f({ from }, at = './no.ts') {}
const g = await import('./g.ts')
new URL(\`./h\${extname(import.meta.url)}\`, import.meta.url)
new URL('./i.json', import.meta.url)
new URL(\`./j/\${name}\`, import.meta.url)
`
  t.strictSame(edgesOf(code, '.ts'), [
    { kind: 'static', to: './a.ts' },
    { kind: 'static', to: 'b' },
    { kind: 'static', to: './c.ts' },
    { kind: 'static', to: './d.css' },
    { kind: 'dynamic', to: './g.ts' },
    { kind: 'dynamic', to: './h.ts' },
    { kind: 'file', to: './i.json' },
    { kind: 'file', to: './j/' },
  ])
})

t.test('JavaScript is the TypeScript without its types, line for line', async (t) => {
  const source =
    "import { type A, b } from './b.ts'\nimport type { C } from './c.ts'\n\nexport const d = (e: A): C => b(e)\n"
  const code = toJavaScript(source)
  t.equal(code.split('\n').length, source.split('\n').length)
  t.match(code, /from '\.\/b\.js'/)
  t.notMatch(code, 'c.ts')
  t.match(code.split('\n')[3], /^export const d = \(e {3}\) {4}=> b\(e\)$/)
})
