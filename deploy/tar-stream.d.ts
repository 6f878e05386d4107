// tar-stream 2 ships no types. This is the part that is used here.
declare module 'tar-stream' {
  import type { Readable, Writable } from 'node:stream'

  export interface Header {
    name: string
    size?: number
    mode?: number
    uid?: number
    gid?: number
    mtime?: Date
    type?: 'file' | 'directory' | 'symlink' | 'link'
    linkname?: string
  }
  export interface Pack extends Readable {
    entry(header: Header, content: Buffer | string, callback?: (error?: Error | null) => void): Writable
    entry(header: Header, callback?: (error?: Error | null) => void): Writable
    finalize(): void
  }
  export interface Extract extends Writable {
    on(
      event: 'entry',
      listener: (header: Header, stream: Readable, next: (error?: unknown) => void) => void,
    ): this
    on(event: string, listener: (...args: never[]) => void): this
  }
  export function pack(): Pack
  export function extract(): Extract
}
