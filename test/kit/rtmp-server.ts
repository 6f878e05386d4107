import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { FFmpegError, FormatContext, Packet, Rational } from 'node-av/lib'
import { freePort } from './ports.ts'

/**
 * An RTMP server of FFmpeg's: it plays a clip to the first who comes, over and over, at its own pace. A process of its
 * own, so that it can be killed. H.264 alone.
 */
export class RtmpServer implements AsyncDisposable {
  readonly url: string
  readonly #child: ChildProcess

  private constructor(url: string, child: ChildProcess) {
    this.url = url
    this.#child = child
  }

  static async open(clip: string, port?: number): Promise<RtmpServer> {
    const url = `rtmp://127.0.0.1:${port ?? (await freePort())}/live/cam`
    const child = spawn(process.execPath, [import.meta.filename, clip, url], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => {
        throw new Error('the RTMP server ended')
      }),
    ])
    await sleep(200) // from here on FFmpeg opens its port
    return new RtmpServer(url, child)
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

/** The only muxer that hands options on to a protocol and can be named by a string: tee. */
async function serve(clip: string, url: string): Promise<void> {
  const input = new FormatContext()
  check(await input.openInput(clip))
  check(await input.findStreamInfo())
  const from = input.streams[0]
  if (!from) throw new Error(`${clip} has no stream`)
  const output = new FormatContext()
  check(output.allocOutputContext2(null, 'tee', `[f=flv:listen=1]${url}`))
  const to = output.newStream()
  check(from.codecpar.copy(to.codecpar))
  to.codecpar.codecTag = 0
  to.timeBase = new Rational(1, 1000)
  process.send?.('opening')
  check(await output.writeHeader()) // waits for who comes
  const startMs = performance.now()
  using packet = new Packet()
  packet.alloc()
  let offset = 0
  for (;;) {
    let last = 0
    while ((await input.readFrame(packet)) >= 0) {
      packet.rescaleTs(from.timeBase, new Rational(1, 1000))
      last = Number(packet.pts)
      packet.pts += BigInt(offset)
      packet.dts += BigInt(offset)
      const waitMs = startMs + Number(packet.dts) - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      packet.streamIndex = 0
      if ((await output.writeFrame(packet)) < 0) return
      packet.unref()
    }
    offset += last + 40
    check(await input.seekFrame(0, 0n, 1 as never))
  }
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}

// Whoever started it is gone: a thread that waits in FFmpeg would hold up a milder end.
if (import.meta.main) process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
if (import.meta.main) await serve(process.argv[2] ?? '', process.argv[3] ?? '')
