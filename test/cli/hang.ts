import fs, { existsSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

/**
 * Loaded by Node beside the program (NODE_OPTIONS=--import): makes its main thread wait for ever, as a fault of Node or of
 * a library would.
 *
 * TEST_HANG       "load": before any of its code runs; a text: when its log says this; "SIGUSR2": at that signal
 * TEST_HANG_ONCE  a file: it hangs where there is none, and makes it
 * TEST_SLOW_READ_MS  how long each read at a place of a file takes, as on a bad disk
 */
const { TEST_HANG: when = '', TEST_HANG_ONCE: file, TEST_SLOW_READ_MS: slowMs } = process.env
const never = new Int32Array(new SharedArrayBuffer(4))

function hang(): void {
  if (file !== undefined) {
    if (existsSync(file)) return
    writeFileSync(file, '')
  }
  Atomics.wait(never, 0, 0)
}

// The launcher, and whatever else runs on Node, is to go on.
if (/\/cli\.ts$/.test(process.argv[1] ?? '')) {
  if (when === 'load') hang()
  else if (when === 'SIGUSR2') process.on('SIGUSR2', hang)
  else if (when !== '') {
    const { writeSync } = fs
    fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
      const written = writeSync(...args)
      if (String(args[1]).includes(when)) hang()
      return written
    }) as typeof writeSync
  }
  if (slowMs !== undefined) {
    const { readSync } = fs
    fs.readSync = ((...args: unknown[]) => {
      if (typeof args[4] === 'number') Atomics.wait(never, 0, 0, Number(slowMs)) // else it is of readFileSync
      return (readSync as (...args: unknown[]) => number)(...args)
    }) as typeof readSync
    syncBuiltinESMExports()
  }
}
