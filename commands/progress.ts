import { size } from '../lib/table.ts'

const BAR_COLUMNS = 30
const SHOW_EVERY_MS = 100

export interface Progress extends Disposable {
  show(done: number, total: number | undefined): void
  clear(): void
}

/** A bar in a terminal's last line; nothing where the stream is none, or one that cannot write over a line. */
export function progressBar(stream: NodeJS.WriteStream, name: string): Progress {
  const shows = stream.isTTY && process.env.TERM !== 'dumb'
  let shownMs = Number.NEGATIVE_INFINITY
  const clear = () => {
    if (shows && shownMs > 0) stream.write('\r\x1b[K')
  }
  return {
    show(done, total) {
      const nowMs = performance.now()
      const last = done === total
      if (!shows || (nowMs - shownMs < SHOW_EVERY_MS && !last)) return
      shownMs = nowMs
      stream.write(`\r${barLine(name, done, total)}\x1b[K`)
    },
    clear,
    [Symbol.dispose]: clear,
  }
}

/** "yunet-n  [#######-------]  50 %  160.0 KB of 320.0 KB" */
export function barLine(name: string, done: number, total: number | undefined): string {
  if (total === undefined || total === 0) return `${name}  ${size(done)}`
  const part = Math.min(1, done / total)
  const filled = Math.floor(part * BAR_COLUMNS)
  const bar = '#'.repeat(filled) + '-'.repeat(BAR_COLUMNS - filled)
  return `${name}  [${bar}]  ${Math.floor(part * 100)} %  ${size(done)} of ${size(total)}`
}
