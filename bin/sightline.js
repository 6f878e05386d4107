#!/usr/bin/env node
// The launcher: plain JavaScript, so that any Node can say what is wrong. It runs cli.ts of a clone, or cli.js of an image
// or of the installed package, on the system's own Node where that one is new enough, or else on the one that the npm package
// `node` has brought along.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './run.js'
import { NODE_FLAGS, NODE_MAJOR_MIN } from './runtime.js'

const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const clone = at('../cli.ts')
const cli = [clone, at('../cli.js')].find((path) => existsSync(path)) ?? at('../dist/cli.js')
const own = Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN
const runtime = own ? process.execPath : broughtAlong()

/** @returns {string | undefined} the npm package `node`, of this folder or of the one that this package was installed in */
function broughtAlong() {
  try {
    const node = join(dirname(createRequire(import.meta.url).resolve('node/package.json')), 'bin', 'node')
    return existsSync(node) ? node : undefined
  } catch {
    return undefined // it was not installed
  }
}

if (runtime === undefined) {
  const how =
    cli === clone
      ? 'Run "npm install" in its folder, which installs one'
      : `Run "npm install node@${NODE_MAJOR_MIN}" where you installed it, which installs one`
  process.stderr.write(
    `RUNTIME_TOO_OLD: Sightline needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.version}. ${how}, or install Node ${NODE_MAJOR_MIN}.\n`,
  )
  process.exit(69)
}

run(runtime, [...NODE_FLAGS, cli], process.argv.slice(2))
