// What systemd wants to hear of a unit with Type=notify and WatchdogSec=. Node cannot send to a unix datagram socket, so
// that systemd's own program does it; it also waits until systemd has taken the word, which one from a process that is
// gone would not be.
import { spawn } from 'node:child_process'

const { NOTIFY_SOCKET, WATCHDOG_USEC } = process.env

/** How long systemd waits for a word, s; undefined where it does not wait. */
const PATIENCE_S = NOTIFY_SOCKET && WATCHDOG_USEC ? Number(WATCHDOG_USEC) / 1e6 : undefined

/** How often systemd is told that the launcher lives, s; undefined where it does not want to hear it. */
export const TELL_S = PATIENCE_S === undefined ? undefined : Math.max(1, Math.floor(PATIENCE_S / 3))

/** They are the launcher's alone. */
export const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']

/** The program is ready for the first time. */
export const tellReady = () => tell('READY=1')

/**
 * The launcher lives. A start may take longer than TimeoutStartSec=, which is for a launcher that hangs: it is extended.
 * @param {boolean} isReady
 */
export const tellAlive = (isReady) =>
  tell(isReady ? 'WATCHDOG=1' : `EXTEND_TIMEOUT_USEC=${/** @type {number} */ (PATIENCE_S) * 1e6}`)

/** @param {string} word */
function tell(word) {
  if (!NOTIFY_SOCKET) return
  spawn('systemd-notify', [word], { stdio: ['ignore', 'ignore', 'inherit'] }).on('error', (error) => {
    process.stderr.write(`UNEXPECTED: Cannot run systemd-notify "${word}": ${error.message}\n`)
  })
}
