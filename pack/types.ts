import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

/** What modules of users import of the package (`exports` of package.json): only of these it has types. */
const MODULES = ['device/process/plugin', 'device/process/plugin-testing']
const COMPILE_MS_MAX = 60_000

/** Writes the types of what users import beside its JavaScript. Errors: what the compiler says. */
export async function writeTypes(root: string, out: string): Promise<void> {
  const compiler = join(
    dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
    'bin',
    'tsc',
  )
  const folder = await mkdtemp(join(tmpdir(), 'sightline-types-'))
  try {
    const options = ['--declaration', '--emitDeclarationOnly', '--rootDir', root, '--outDir', folder]
    const as = ['--target', 'es2024', '--lib', 'es2024,esnext.disposable', '--module', 'nodenext']
    const how = ['--skipLibCheck', '--allowImportingTsExtensions', '--ignoreConfig', '--types', 'node']
    const files = MODULES.map((module) => join(root, `${module}.ts`))
    await promisify(execFile)(process.execPath, [compiler, ...options, ...as, ...how, ...files], {
      cwd: root,
      timeout: COMPILE_MS_MAX,
    })
    for (const module of MODULES) {
      const text = await readFile(join(folder, `${module}.d.ts`), 'utf8')
      await writeFile(join(out, `${module}.d.ts`), text.replace("from './plugin.ts'", "from './plugin.js'"))
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
