import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, glob, mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { failure, systemCode } from '../lib/errors.ts'

/**
 * The pages as a browser takes them. In a package they lie beside this module, compiled when it was packed; in a clone
 * they are compiled at the first start (a second), into a folder named by what the sources hold, so that a changed source
 * is never served as it was before.
 *
 *     node console/pages-build.ts OUT        compiles them into OUT
 */

const SOURCES = join(import.meta.dirname, 'pages')
const CACHE = resolve(import.meta.dirname, '..', 'node_modules', '.cache', 'sightline-pages')
const COMPILE_MS_MAX = 60_000
/** Folders of sources that nobody has any more. */
const KEPT_MS_MAX = 7 * 86_400_000

/** @returns the folder that holds `main.js` and what it needs. Errors: PAGES_NOT_BUILT */
export async function builtPages(): Promise<string> {
  if (existsSync(join(SOURCES, 'main.js'))) return SOURCES
  const folder = join(CACHE, await fingerprint())
  if (existsSync(folder)) return folder
  const partial = `${folder}.${process.pid}`
  await buildPages(partial)
  try {
    await rename(partial, folder)
  } catch (error) {
    // Another program has made the same meanwhile.
    await rm(partial, { recursive: true, force: true })
    if (!existsSync(folder)) throw error
  }
  await forgetOld(folder)
  return folder
}

/** Errors: PAGES_NOT_BUILT */
export async function buildPages(out: string): Promise<void> {
  await rm(out, { recursive: true, force: true })
  await mkdir(out, { recursive: true })
  const compiler = compilerPath()
  const options = ['--noEmit', 'false', '--noCheck', '--noResolve', '--rootDir', SOURCES, '--outDir', out]
  try {
    await promisify(execFile)(process.execPath, [compiler, '-p', SOURCES, ...options], {
      timeout: COMPILE_MS_MAX,
    })
  } catch (error) {
    const said = (error as { stdout?: string }).stdout?.trim()
    throw failure('PAGES_NOT_BUILT', `The console's pages could not be compiled: ${said || error}`, error)
  }
  for await (const name of glob('**/*.{css,svg,js,png}', { cwd: SOURCES }))
    await cp(join(SOURCES, name), join(out, name))
}

function compilerPath(): string {
  try {
    const manifest = createRequire(import.meta.url).resolve('typescript/package.json')
    // Not `bin/tsc`, which has no ending: under a loader of CommonJS it would be taken for that.
    return join(dirname(manifest), 'lib', 'tsc.js')
  } catch (error) {
    throw failure(
      'PAGES_NOT_BUILT',
      'The console\'s pages have to be compiled, and the TypeScript compiler is not installed. Run "npm install" without --omit=dev, or use the package, which has them compiled.',
      error,
    )
  }
}

async function fingerprint(): Promise<string> {
  const hash = createHash('sha256')
  const names = (await Array.fromAsync(glob('**/*.{ts,tsx,css,svg,js,json,png}', { cwd: SOURCES }))).sort()
  for (const name of names)
    hash
      .update(`${name}\0`)
      .update(await readFile(join(SOURCES, name)))
      .update('\0')
  return hash.digest('hex').slice(0, 16)
}

async function forgetOld(kept: string): Promise<void> {
  for await (const name of glob('*', { cwd: CACHE })) {
    const folder = join(CACHE, name)
    try {
      if (folder !== kept && Date.now() - (await stat(folder)).mtimeMs > KEPT_MS_MAX)
        await rm(folder, { recursive: true, force: true })
    } catch (error) {
      // Another program clears up as well.
      if (systemCode(error) !== 'ENOENT') throw error
    }
  }
}

if (import.meta.main) {
  const [, , out] = process.argv
  if (out === undefined) throw new Error('Usage: node console/pages-build.ts OUT')
  await buildPages(out)
}
