/**
 * The program's side of its launcher (bin/run.js, or whatever else started it with a channel to it, as the demo does): it
 * says that it lives, and ends when its launcher is gone. A program that was started without one does neither.
 */

const ALIVE_INTERVAL_MS = 1000

let restarts = 0
let saidAtMs = Number.NEGATIVE_INFINITY
let isFull = false
/** Whoever drains takes this over; any other command ends as it would for the signal. */
let onGone: () => void = () => process.kill(process.pid, 'SIGTERM')

/**
 * Where the launcher is killed, this program would otherwise go on, with nobody to stop it, and hold port and store.
 * @param options.restarts how often the launcher has killed and restarted it because it hung
 */
export function followLauncher(options: { readonly restarts: number }): void {
  restarts = options.restarts
  if (!process.channel) return
  process.once('disconnect', () => onGone())
  process.channel.unref() // the listener would keep the program from ending
}

/** @param then instead of SIGTERM to this program itself */
export function whenLauncherGone(then: () => void): void {
  onGone = then
}

/** How often the launcher has killed and restarted this program because it hung. */
export const restartsAfterHang = () => restarts

/** To be called in whatever keeps the event loop waiting for long, as often as one likes: it says so once a second. */
export function alive(): void {
  const nowMs = performance.now()
  if (nowMs - saidAtMs < ALIVE_INTERVAL_MS || isFull) return
  saidAtMs = nowMs
  say('alive')
}

/** From now on, as long as the event loop turns. */
export function keepAlive(): Disposable {
  alive()
  const timer = setInterval(alive, ALIVE_INTERVAL_MS).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

/** It has started as far as that is up to it. */
export function ready(): void {
  say('ready')
}

function say(word: 'alive' | 'ready'): void {
  if (!process.connected) return
  // Written at once, even while the event loop stands, but where the launcher does not read.
  isFull =
    process.send?.(word, () => {
      isFull = false
    }) === false
}
