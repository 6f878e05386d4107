import { cpSync, globSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { buildPages } from '../console/pages-build.ts'
import { keptBlazeface } from '../models/convert.ts'
import { ship } from './image.ts'
import { writeTypes } from './types.ts'

/**
 * `dist/`, which `npm pack` ships: everything that runs, as JavaScript (Node strips no types under `node_modules`), in
 * the same folders, the default model made, the console's pages compiled, and what images are built from. Run by `npm pack` itself ("prepack").
 */

const ROOT = resolve(import.meta.dirname, '..')

const SHIPPED = [
  'cli.ts',
  'configurations.ts',
  '{bin,broker,cloud-subscriber,commands,console,demo,deploy,device,inference,lib,models,pack,plugins,store,wire}/**/*',
  '{conf,docker}/**/*',
  'package.json',
  '.dockerignore',
]
/** What a clone has besides: secrets that docker/secrets.sh has made, types of JavaScript, sources of what is compiled. */
const NOT_SHIPPED = ['docker/secrets/**', '**/*.d.ts', 'console/pages/**']

export async function makeDist(out: string): Promise<void> {
  rmSync(out, { recursive: true, force: true })
  for (const entry of globSync(SHIPPED, { cwd: ROOT, exclude: NOT_SHIPPED, withFileTypes: true }))
    if (entry.isFile()) ship(ROOT, join(entry.parentPath, entry.name).slice(ROOT.length + 1), out)
  // Under its own name npm leaves it out only at the top: images are built from the versions that are in it.
  cpSync(join(ROOT, 'package-lock.json'), join(out, 'package-lock.json'))
  await writeTypes(ROOT, out)
  await keptBlazeface(join(out, 'models'))
  await buildPages(join(out, 'console', 'pages'))
}

if (import.meta.main) await makeDist(join(ROOT, 'dist'))
