import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bytesFree } from '../../store/disk-room.ts'

/**
 * A file system of its own (tmpfs, in memory) of a few megabytes, to be filled. Mounting takes the rights of root:
 * without them `open` returns why. It is unmounted when it is disposed of, and at the latest when the program ends.
 */
export class SmallDisk implements Disposable {
  readonly path: string
  readonly #atExit = () => this[Symbol.dispose]()

  private constructor(path: string) {
    this.path = path
    process.once('exit', this.#atExit)
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, this.#onSignal)
  }

  static open(bytes: number): SmallDisk | string {
    const path = mkdtempSync(join(tmpdir(), 'sightline-disk-'))
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'sightline-test', path])
    if (mount.status === 0) return new SmallDisk(path)
    rmdirSync(path)
    return 'mounting a small file system takes root on Linux, which this is not'
  }

  get bytesFree(): number {
    return bytesFree(this.path)
  }

  /** Somebody else fills it: to the last byte, or but for so many. */
  fill(bytesLeft = 0): void {
    const file = openSync(join(this.path, 'filler'), 'a')
    try {
      for (let size = 1 << 20; size > 0; ) {
        size = Math.min(size, this.bytesFree - bytesLeft)
        if (size <= 0 || writeSync(file, Buffer.alloc(size)) === 0) return
      }
    } finally {
      closeSync(file)
    }
  }

  makeRoom(): void {
    rmSync(join(this.path, 'filler'), { force: true })
  }

  readonly #onSignal = (name: NodeJS.Signals) => {
    this[Symbol.dispose]()
    process.kill(process.pid, name) // once more, for whoever else listens, or for the default
  };

  [Symbol.dispose](): void {
    process.off('exit', this.#atExit)
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, this.#onSignal)
    // Lazily: a program that has just been killed may still have files open there.
    if (spawnSync('umount', ['-l', this.path]).status === 0) rmdirSync(this.path)
  }
}
