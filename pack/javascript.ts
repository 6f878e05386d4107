import { stripTypeScriptTypes } from 'node:module'

/**
 * A source file as it is shipped: JavaScript, by the same type stripping that runs a clone, so that what is shipped is
 * what was tested, line for line. (Node strips no types under `node_modules`.)
 */

/** `./x.ts` where a module is named: `from './x.ts'`, `import './x.ts'`, `import('./x.ts')`. */
const SPECIFIER = /(\bfrom\s*|\bimport\s*\(?\s*)(['"])(\.{1,2}\/[^'"]+)\.ts\2/g

export function toJavaScript(source: string): string {
  return stripTypeScriptTypes(source).replace(SPECIFIER, '$1$2$3.js$2')
}

/** What a file is called once it is shipped. */
export const shippedName = (path: string) => path.replace(/(?<!\.d)\.ts$/, '.js')

/** What a module needs besides itself. */
export interface Edge {
  readonly kind: 'static' | 'dynamic' | 'file'
  /** As it is written: `./x.ts`, `sharp`, `node:fs`; of a file or a folder (`./page/`) its relative path. */
  readonly to: string
}

/** `import ... from 'x'`, `import 'x'`, `export ... from 'x'`, at the beginning of a line, as Biome writes them. */
const STATIC = /^(?:import|export)\b(?:[^'"`;=(]*?\bfrom)?\s*(['"])([^'"]+)\1/gm
const DYNAMIC = /\bimport\(\s*(['"])([^'"]+)\1/g
/** `new URL('./x', import.meta.url)`; of a template what stands before its first hole. */
const BESIDE = /\bnew URL\(\s*(['"`])([^'"`]+)\1,\s*import\.meta\.url\s*\)/g
/** A hole that becomes the extension of the file it stands in: another module. */
const OWN_EXTENSION = '$' + '{extname(import.meta.url)}'

/** @param code JavaScript: types import nothing */
export function edgesOf(code: string, extension: string): Edge[] {
  const bare = withoutComments(code)
  const edges: Edge[] = []
  for (const [, , to = ''] of bare.matchAll(STATIC)) edges.push({ kind: 'static', to })
  for (const [, , to = ''] of bare.matchAll(DYNAMIC)) edges.push({ kind: 'dynamic', to })
  for (const [, , text = ''] of bare.matchAll(BESIDE)) {
    if (text.endsWith(OWN_EXTENSION))
      edges.push({ kind: 'dynamic', to: text.slice(0, -OWN_EXTENSION.length) + extension })
    else if (!text.includes('$')) edges.push({ kind: 'file', to: text })
    else edges.push({ kind: 'file', to: text.slice(0, text.lastIndexOf('/', text.indexOf('$')) + 1) })
  }
  return edges
}

/** Comment blocks and whole lines of comment: examples in them import nothing. */
const withoutComments = (code: string) =>
  code.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '')
