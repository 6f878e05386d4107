// Runs a command, and watches it where it is one of the programs that run for good.
//
// Such a program says over Node's channel between processes that it lives (lib/launcher.ts), about once a second. One
// that has said nothing for too long hangs: it can neither drain nor end by itself. It is killed and started again; what
// it had accepted is on its disk. One that ends by itself is not started again: that is for systemd or Docker to decide.
//
// Silence is counted in ticks of the launcher's own: a machine that sleeps, or has no time for the launcher either, lets
// none pass. Somebody who has stopped the program (SIGSTOP, a debugger) wants it to stand.
//
// WATCHDOG_SECONDS        silence allowed to a program that was ready once, s; 0: any (default: 60)
// WATCHDOG_START_SECONDS  silence allowed before that (default: 120). How long the start takes does not matter: while it
//                         looks through a large store it says that it lives, too.
import { spawn } from 'node:child_process'
import { ENVIRONMENT } from './runtime.js'
import { TELL_S, tellAlive, tellReady, VARIABLES } from './systemd.js'
import { isStopped, threadsOf } from './threads.js'

const WATCHED = ['device', 'broker', 'subscriber']
const TICK_MS = 1000
const SILENT_TICKS_MAX = ticks('WATCHDOG_SECONDS', 60)
const START_SILENT_TICKS_MAX = ticks('WATCHDOG_START_SECONDS', 120)
const RESTART_MS_MIN = 1000
const RESTART_MS_MAX = 60_000
/** In a row, before it was ready. */
const HUNG_STARTS_MAX = 3
/** As lib/errors.ts has it: try again later. */
const PROGRAM_HUNG_STATUS = 75

const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP'])
const PASS_ON_MS = 250

/**
 * @param {string} runtime the path of Node
 * @param {string[]} flags what comes before the command
 * @param {string[]} argv the command and its arguments
 */
export function run(runtime, flags, argv) {
  process.stderr.on('error', () => {}) // whoever read it has gone, and the program stays
  const [command = ''] = argv
  const isWatched = WATCHED.includes(command)
  /** @type {import('node:child_process').ChildProcess | undefined} */
  let child
  /** @type {NodeJS.Timeout | undefined} */
  let restart
  let isStopping = false
  let wasReady = false
  let restarts = 0
  let hungStarts = 0

  function start() {
    restart = undefined
    let isReady = false
    let isKilled = false
    let silentTicks = 0
    /** @type {string[] | undefined} */
    let before
    const started = spawn(runtime, [...flags, ...argv], {
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      env: environment(restarts),
    })
    child = started
    started.on('error', (error) => {
      process.stderr.write(`RUNTIME_TOO_OLD: Cannot start ${runtime}: ${error.message}\n`)
      process.exit(69)
    })
    started.on('message', (word) => {
      silentTicks = 0
      if (word !== 'ready' || isReady) return
      isReady = true
      hungStarts = 0
      if (!wasReady) tellReady()
      wasReady = true
    })
    const ticking = setInterval(() => {
      const { pid } = started
      const silentTicksMax = isReady ? SILENT_TICKS_MAX : START_SILENT_TICKS_MAX
      if (!isWatched || isKilled || pid === undefined || silentTicksMax === 0) return
      silentTicks += 1
      if (silentTicks === silentTicksMax - 1) before = threadsOf(pid)
      if (silentTicks < silentTicksMax) return
      if (isStopped(pid)) {
        silentTicks = 0
        return
      }
      isKilled = true
      if (!isReady) hungStarts += 1
      const then = isStopping
        ? 'It was stopping: it is not restarted.'
        : hungStarts < HUNG_STARTS_MAX
          ? 'It is restarted; what it accepted is on disk.'
          : `${hungStarts} starts in a row hung: giving up. Try again later, and check the disk that holds its store.`
      const threads = threadsOf(pid)
      const moved = String(before) !== String(threads)
      complain(
        { command, pid, restarts, threads, ...(moved ? { threadsBefore: before } : {}) },
        `The ${command} hangs: no response for ${silentTicks} s${isReady ? '' : ' during its start'}; killing it. ${then}`,
      )
      started.kill('SIGKILL')
    }, TICK_MS)
    started.on('exit', (code, signal) => {
      clearInterval(ticking)
      if (!isKilled)
        process.exitCode = code ?? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 1)
      else if (isStopping || hungStarts >= HUNG_STARTS_MAX) process.exitCode = PROGRAM_HUNG_STATUS
      else {
        const delayMs = Math.min(RESTART_MS_MIN * 2 ** Math.max(0, hungStarts - 1), RESTART_MS_MAX)
        restarts += 1
        restart = setTimeout(start, delayMs)
        return
      }
      clearInterval(telling)
      clearInterval(looking)
    })
  }

  /** @param {NodeJS.Signals} signal */
  function stop(signal) {
    isStopping = true
    if (restart !== undefined) process.exit(0) // nothing runs that could drain
    // Not at once: a terminal's Ctrl-C reaches the program as well, and passed on while Node takes down a program that has
    // drained already, it would end it with 130.
    setTimeout(() => child?.kill(signal), PASS_ON_MS).unref()
  }

  for (const signal of SIGNALS) process.on(signal, () => stop(signal))
  const telling = TELL_S === undefined ? undefined : setInterval(() => tellAlive(wasReady), TELL_S * 1000)
  const looking = followNpm(() => stop('SIGTERM'))
  start()
}

/** @param {number} restarts */
function environment(restarts) {
  const env = { ...ENVIRONMENT, ...process.env, WATCHDOG_RESTARTS: String(restarts) }
  return Object.fromEntries(Object.entries(env).filter(([name]) => !VARIABLES.includes(name)))
}

/**
 * npx and "npm run" put a shell between themselves and the launcher, and pass a signal on to that alone: it ends, and its
 * command would run for ever.
 * @param {() => void} then
 */
function followNpm(then) {
  if (process.env.npm_command === undefined) return undefined
  const parent = process.ppid
  const looking = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(looking)
    then()
  }, TICK_MS)
  return looking
}

/**
 * A line as the programs' logs have them (lib/log.ts), or for people.
 * @param {object} details
 * @param {string} msg
 */
function complain(details, msg) {
  const line = {
    level: 50,
    time: new Date().toISOString(),
    program: 'launcher',
    code: 'PROGRAM_HUNG',
    ...details,
    msg,
  }
  process.stderr.write(process.stderr.isTTY ? `PROGRAM_HUNG: ${msg}\n` : `${JSON.stringify(line)}\n`)
}

/**
 * @param {string} name of an environment variable that holds seconds
 * @param {number} otherwise
 */
function ticks(name, otherwise) {
  const text = process.env[name]
  if (text === undefined || text === '') return otherwise
  if (/^\d{1,6}$/.test(text)) return Number(text) * (1000 / TICK_MS)
  process.stderr.write(`USAGE: environment variable ${name} must be whole seconds, not "${text}".\n`)
  process.exit(64)
}
