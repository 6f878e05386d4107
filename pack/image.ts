import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type Part, partOf, withoutExtension } from './graph.ts'
import { shippedName, toJavaScript } from './javascript.ts'
import { type Lock, type PackageFile, subsetOf } from './lock.ts'
import { MODEL, NEEDLESS, PAGES, PROGRAMS, type Program, type ProgramName } from './parts.ts'

/**
 * Lays out what each image holds, below OUT:
 *
 *     <program>/npm/     package.json and package-lock.json: what its code imports, in the locked versions
 *     <program>/app/     that code, as JavaScript
 *     <program>/conf/    its settings, all at their defaults
 *     model/             the same two folders, for the conversion of the default model
 *     pages/             and for the compilation of the console's pages
 *
 * Used by docker/Dockerfile: node pack/image.ts OUT
 */
export function layOut(root: string, out: string): Record<ProgramName, Part> {
  const file = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as PackageFile
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock
  const lay = (name: string, part: Part, packages: Iterable<string>) => {
    const subset = subsetOf(file, lock, packages, NEEDLESS)
    write(join(out, name, 'npm', 'package.json'), subset.package)
    write(join(out, name, 'npm', 'package-lock.json'), subset.lock)
    write(join(out, name, 'app', 'package.json'), subset.package)
    for (const path of part.files) if (path !== 'package.json') ship(root, path, join(out, name, 'app'))
  }
  const parts = Object.entries<Program>(PROGRAMS).map(([name, program]) => {
    const part = programPart(root, program)
    lay(name, part, [...part.packages, ...(program.served ?? [])])
    for (const module of part.leftOut.keys())
      if (/\.[jt]s$/.test(module)) writeStub(join(out, name, 'app'), module, name)
    for (const [from, to] of program.settings)
      write(join(out, name, 'conf', to), readFileSync(join(root, from), 'utf8'))
    return [name, part] as const
  })
  const model = partOf({ root, entries: MODEL.entries, leavesOut: () => false })
  lay('model', model, [...model.packages, MODEL.package])
  const pages = partOf({ root, entries: PAGES.entries, leavesOut: () => false })
  lay('pages', pages, [...pages.packages, PAGES.package])
  // As they are: the compiler takes their types away. A package has no settings of it, and needs none.
  for (const path of PAGES.copied)
    if (existsSync(join(root, path)))
      cpSync(join(root, path), join(out, 'pages', 'app', path), { recursive: true })
  return Object.fromEntries(parts) as Record<ProgramName, Part>
}

export function programPart(root: string, program: Program): Part {
  const { entries, commands, without, schemaOnly } = program
  return partOf({
    root,
    entries,
    leavesOut(from, to, isLater) {
      const command = /^commands\/([^/]+)/.exec(from)?.[1]
      const isCalled = command === undefined || commands.includes(command)
      const isFollowed = isCalled && !schemaOnly.some((folder) => from.startsWith(folder))
      return without.includes(to) || (isLater && !isFollowed)
    },
  })
}

/** Instead of a module that is left out: whoever gets there is told which image has it. */
function writeStub(app: string, module: string, name: string): void {
  const depth = '../'.repeat(module.split('/').length - 1) || './'
  write(
    join(app, shippedName(module)),
    `import { failure } from '${depth}lib/errors.js'

throw failure(
  'NOT_INCLUDED',
  'This is the image of the ${name} alone, which does not hold ${withoutExtension(module)}. Use the image of the program that it belongs to, or install the package "sightline".',
)
`,
  )
}

/** Copies a file, as JavaScript where it is TypeScript. */
export function ship(root: string, path: string, out: string): void {
  const target = join(out, shippedName(path))
  mkdirSync(dirname(target), { recursive: true })
  if (/(?<!\.d)\.ts$/.test(path)) writeFileSync(target, toJavaScript(readFileSync(join(root, path), 'utf8')))
  else cpSync(join(root, path), target)
}

function write(file: string, content: unknown): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, typeof content === 'string' ? content : `${JSON.stringify(content, undefined, 2)}\n`)
}

if (import.meta.main) {
  const [, , out] = process.argv
  if (out === undefined) throw new Error('Usage: node pack/image.ts OUT')
  const parts = layOut(resolve(import.meta.dirname, '..'), out)
  for (const [name, { files, packages }] of Object.entries(parts))
    process.stdout.write(`${name}: ${files.size} files, ${[...packages].sort().join(', ')}\n`)
}
