#!/usr/bin/env node
// The launcher: plain JavaScript, so that any Node can say what is wrong. It runs cli.ts of a clone, or cli.js of the
// installed package, on the system's own Node where that one is new enough, or else on the one that the npm package
// `node` has brought along.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ENVIRONMENT, NODE_FLAGS, NODE_MAJOR_MIN } from './runtime.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP']
const PASS_ON_MS = 250

const clone = fileURLToPath(new URL('../cli.ts', import.meta.url))
const cli = existsSync(clone) ? clone : fileURLToPath(new URL('../dist/cli.js', import.meta.url))
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
      ? 'Run "npm install" in its folder, which brings one along'
      : `Run "npm install node@${NODE_MAJOR_MIN}" where you installed it, which brings one along`
  process.stderr.write(
    `RUNTIME_TOO_OLD: Sightline needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.version}. ${how}, or install Node ${NODE_MAJOR_MIN}.\n`,
  )
  process.exit(69)
}

const child = spawn(runtime, [...NODE_FLAGS, cli, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...ENVIRONMENT, ...process.env },
})
// Not at once: a terminal's Ctrl-C reaches the program as well, and passed on while Node takes down a program that has
// drained already, it would end it with 130.
for (const signal of SIGNALS)
  process.on(signal, () => void setTimeout(() => child.kill(signal), PASS_ON_MS).unref())
child.on('error', (error) => {
  process.stderr.write(`RUNTIME_TOO_OLD: ${runtime} could not be started: ${error.message}\n`)
  process.exit(69)
})
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 1)
})
