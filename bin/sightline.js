#!/usr/bin/env node
// The launcher: plain JavaScript, so that any Node can say what is wrong. It runs cli.ts on the Node that this
// project pins (npm package `node`), or on the system's own where that one is new enough.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ENVIRONMENT, NODE_FLAGS, NODE_MAJOR_MIN } from './runtime.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP']

const cli = fileURLToPath(new URL('../cli.ts', import.meta.url))
const pinned = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
const own = Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN
const runtime = own ? process.execPath : existsSync(pinned) ? pinned : undefined

if (runtime === undefined) {
  process.stderr.write(
    `RUNTIME_TOO_OLD: Sightline needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.version}. Run "npm install" in its folder, which brings one along, or install Node ${NODE_MAJOR_MIN}.\n`,
  )
  process.exit(69)
}

const child = spawn(runtime, [...NODE_FLAGS, cli, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...ENVIRONMENT, ...process.env },
})
for (const signal of SIGNALS) process.on(signal, () => child.kill(signal))
child.on('error', (error) => {
  process.stderr.write(`RUNTIME_TOO_OLD: ${runtime} could not be started: ${error.message}\n`)
  process.exit(69)
})
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 1)
})
