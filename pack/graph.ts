import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import { builtinModules, stripTypeScriptTypes } from 'node:module'
import { extname, join, posix } from 'node:path'
import { type Edge, edgesOf } from './javascript.ts'

/** What a set of entry points needs: followed from import to import, not listed by hand. */
export interface Part {
  /** Paths below the root, of modules and of the files that they read. */
  readonly files: ReadonlySet<string>
  /** npm packages that are imported by name. */
  readonly packages: ReadonlySet<string>
  /** Modules and packages that were left out, each with who would import it. */
  readonly leftOut: ReadonlyMap<string, string>
}

export interface PartOptions {
  /** The folder that paths are below. */
  readonly root: string
  readonly entries: readonly string[]
  /**
   * Whether a part does without what a module imports: `from` and `to` are paths below the root without extension, or
   * the name of a package; `isLater` is true of what is imported when it is needed (`await import(...)`). What is
   * imported at once cannot be left out.
   */
  readonly leavesOut: (from: string, to: string, isLater: boolean) => boolean
}

const BUILT_IN = new Set(builtinModules)

/** Errors: an import that leads nowhere, and one of a part that must be left out and is imported at once. */
export function partOf({ root, entries, leavesOut }: PartOptions): Part {
  const files = new Set<string>()
  const packages = new Set<string>()
  const leftOut = new Map<string, string>()
  const queue = entries.map((path) => existing(root, path, 'the entry points'))
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path)) continue
    files.add(path)
    for (const { kind, to } of edgesIn(root, path)) {
      if (to.startsWith('node:') || BUILT_IN.has(to)) continue
      const from = withoutExtension(path)
      if (kind === 'file') {
        const beside = posix.join(posix.dirname(path), to)
        // npm's folder, and what is written there, is none of ours.
        if (!beside.startsWith('node_modules/'))
          for (const file of filesAt(root, beside, path)) if (!file.endsWith('.d.ts')) files.add(file)
        continue
      }
      const isPackage = !to.startsWith('.')
      const target = isPackage ? packageOf(to) : posix.join(posix.dirname(path), to)
      const name = isPackage ? target : withoutExtension(target)
      if (leavesOut(from, name, kind === 'dynamic')) {
        if (kind === 'static')
          throw new Error(
            `${path} imports ${name} at once, which this part is to do without: import it when it is needed.`,
          )
        leftOut.set(target, path)
      } else if (isPackage) packages.add(target)
      else queue.push(existing(root, target, path))
    }
  }
  // Left out on one way, needed on another: it is there.
  const has = new Set([...files].map(withoutExtension))
  for (const name of leftOut.keys())
    if (has.has(withoutExtension(name)) || packages.has(name)) leftOut.delete(name)
  return { files, packages, leftOut }
}

function edgesIn(root: string, path: string): Edge[] {
  const extension = extname(path)
  if (extension !== '.ts' && extension !== '.js') return []
  const source = readFileSync(join(root, path), 'utf8')
  return edgesOf(extension === '.ts' ? stripTypeScriptTypes(source) : source, extension)
}

/** `@aws-sdk/client-s3` of `@aws-sdk/client-s3/dist/x.js`. */
const packageOf = (specifier: string) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')

export const withoutExtension = (path: string) => path.replace(/\.[jt]s$/, '')

/** The source may be of a clone (.ts) or of a package (.js). */
function existing(root: string, path: string, importer: string): string {
  const found = [path, path.replace(/\.ts$/, '.js')].find((name) => existsSync(join(root, name)))
  if (found === undefined) throw new Error(`${importer} names ${path}, which does not exist.`)
  return found
}

function filesAt(root: string, path: string, importer: string): string[] {
  const file = existing(root, path, importer)
  if (!statSync(join(root, file)).isDirectory()) return [file]
  return globSync(`${file.replace(/\/$/, '')}/**/*`, { cwd: root })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => statSync(join(root, name)).isFile())
}
