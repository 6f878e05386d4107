// What the kernel knows of a process that says nothing: for the launcher, which is about to kill it, and for tests.
import { readdirSync, readFileSync } from 'node:fs'

/**
 * What each thread of a process does: its name, state, what it waits in, and its system call with the arguments (the
 * first one of a futex is its address: threads that wait for the same lock show the same one). Two samples that are
 * alike are of threads that do not move.
 * @param {number} pid
 * @returns {string[] | undefined} undefined where there is no /proc, or the process is gone
 */
export function threadsOf(pid) {
  const tasks = `/proc/${pid}/task`
  try {
    return readdirSync(tasks).map((thread) => {
      const read = (/** @type {string} */ name) => readFileSync(`${tasks}/${thread}/${name}`, 'utf8').trim()
      return `${thread} ${read('comm')} ${stateIn(read('stat'))} ${read('wchan')}: ${syscallIn(read)}`
    })
  } catch {
    return undefined
  }
}

/**
 * Whether somebody has stopped it (SIGSTOP, a debugger).
 * @param {number} pid
 */
export function isStopped(pid) {
  try {
    return /^[Tt]$/.test(stateIn(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? '')
  } catch {
    return false
  }
}

/** @param {string} stat the name in it may hold anything */
const stateIn = (stat) => /^.*\) (\w)/s.exec(stat)?.[1]

/** @param {(name: string) => string} read */
function syscallIn(read) {
  try {
    return read('syscall')
  } catch {
    return '?' // not for everybody to see
  }
}
