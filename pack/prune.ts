import { readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'

/**
 * Takes out of a `node_modules` what no program reads: binaries of other processors and systems, types, maps, tests,
 * documentation. Licences stay.
 *
 * Used by docker/Dockerfile: node pack/prune.ts NODE_MODULES
 */

const FILES =
  /\.(d\.[cm]?ts|[cm]?ts|map|md|markdown|flow|h|hpp|c|cc|cpp|gyp|gypi)$|^(\..*|tsconfig.*\.json)$/i
const FILES_KEPT = /^(licen[cs]e|notice|copying|authors)/i
/** At the top of a package; deeper they may be code. */
const FOLDERS = /^(test|tests|__tests__|docs?|examples?|bench|benchmarks?|website|man|coverage|\..+)$/i

/** Binaries of which one is used: of LMDB that of Node-API, for the C library that the image has. */
const BINARIES = [
  { at: /\/@lmdb\/lmdb-[^/]+$/, drop: /^node\.(abi\d+|napi\.musl)\b.*\.node$/ },
  { at: /\/onnxruntime-node\/bin\/napi-v\d+$/, drop: new RegExp(`^(?!${process.platform}$)`) },
  {
    at: new RegExp(`/onnxruntime-node/bin/napi-v\\d+/${process.platform}$`),
    drop: new RegExp(`^(?!${process.arch}$)`),
  },
] as const

/** @returns bytes taken out */
export function prune(nodeModules: string): number {
  let bytes = 0
  const drop = (path: string) => {
    bytes += sizeOf(path)
    rmSync(path, { recursive: true })
  }
  const walk = (folder: string, isPackage: boolean): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      const binaries = BINARIES.filter(({ at }) => at.test(folder))
      if (binaries.some((it) => it.drop.test(entry.name))) drop(path)
      else if (entry.isDirectory()) {
        if (isPackage && FOLDERS.test(entry.name)) drop(path)
        else walk(path, isPackageFolder(folder, entry.name))
      } else if (FILES.test(entry.name) && !FILES_KEPT.test(entry.name)) drop(path)
    }
  }
  walk(resolve(nodeModules), false)
  return bytes
}

const isPackageFolder = (folder: string, name: string) =>
  !name.startsWith('@') && !name.startsWith('.') && /(^|\/)node_modules(\/@[^/]+)?$/.test(folder)

function sizeOf(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return 0
  if (!stat.isDirectory()) return stat.size
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0)
}

if (import.meta.main) {
  const [, , folder] = process.argv
  if (folder === undefined) throw new Error('Usage: node pack/prune.ts NODE_MODULES')
  process.stdout.write(`${(prune(folder) / 1e6).toFixed(0)} MB taken out of ${folder}\n`)
}
