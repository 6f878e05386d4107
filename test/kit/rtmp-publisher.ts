import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { AV_LOG_ERROR, AV_PKT_DATA_NEW_EXTRADATA, AVIO_FLAG_WRITE } from 'node-av/constants'
import { FFmpegError, FormatContext, IOContext, Log, Packet, Rational } from 'node-av/lib'

/**
 * FFmpeg publishes clips by RTMP, at its own pace and over and over, in a process of its own so that it can be killed.
 * It says what the server says.
 */
export class RtmpPublisher implements AsyncDisposable {
  /** What FFmpeg said, errors alone. */
  readonly said: string[] = []
  /** Resolves to whether it was let in. */
  readonly opened: Promise<boolean>
  readonly exited: Promise<void>
  readonly #child: ChildProcess

  /** @param clips one, or several of the same codec one after the other, on the same connection */
  constructor(
    clips: string | readonly string[],
    url: string,
    { offsetMs = 0 }: { readonly offsetMs?: number } = {},
  ) {
    this.#child = spawn(process.execPath, [import.meta.filename, url, String(offsetMs), ...[clips].flat()], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.exited = once(this.#child, 'exit').then(() => {})
    this.opened = new Promise((resolve) => {
      this.#child.on('message', (message: { readonly is: string; readonly text?: string }) => {
        if (message.is === 'open') resolve(true)
        else if (message.text !== undefined) this.said.push(message.text)
      })
      void this.exited.then(() => resolve(false))
    })
  }

  /** Without a word to the server. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  /** It holds still, and its connection stays. */
  stop(): void {
    this.#child.kill('SIGSTOP')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill()
  }
}

async function publish(clips: readonly string[], url: string, offsetMs: number): Promise<void> {
  Log.setLevel(AV_LOG_ERROR)
  Log.setCallback((_level, text) => tell({ is: 'said', text: text.trim() }), {
    maxLevel: AV_LOG_ERROR,
  })
  const inputs: FormatContext[] = []
  for (const clip of clips) {
    const input = new FormatContext()
    check(await input.openInput(clip))
    check(await input.findStreamInfo())
    inputs.push(input)
  }
  const output = new FormatContext()
  check(output.allocOutputContext2(null, 'flv', url))
  for (const from of inputs[0]?.streams ?? []) {
    const to = output.newStream()
    check(from.codecpar.copy(to.codecpar))
    to.codecpar.codecTag = 0
    to.timeBase = new Rational(1, 1000)
  }
  const io = new IOContext()
  check(await io.open2(url, AVIO_FLAG_WRITE))
  output.pb = io
  check(await output.writeHeader())
  tell({ is: 'open' })
  const startMs = performance.now()
  using packet = new Packet()
  packet.alloc()
  let passMs = 0
  for (let pass = 0; ; pass += 1) {
    const input = inputs[pass % inputs.length] as FormatContext
    const bases = input.streams.map(({ timeBase }) => timeBase)
    /** Streams whose decoder is told of the other clip. */
    const told = new Set(inputs.length > 1 ? [] : bases.keys())
    let last = 0
    while ((await input.readFrame(packet)) >= 0) {
      const base = bases[packet.streamIndex]
      if (!base) continue
      const { extradata } = input.streams[packet.streamIndex]?.codecpar ?? {}
      if (!told.has(packet.streamIndex) && extradata)
        check(packet.addSideData(AV_PKT_DATA_NEW_EXTRADATA, extradata))
      told.add(packet.streamIndex)
      packet.rescaleTs(base, new Rational(1, 1000))
      const at = Number(packet.dts) + passMs
      last = Math.max(last, Number(packet.dts))
      packet.pts += BigInt(passMs + offsetMs)
      packet.dts += BigInt(passMs + offsetMs)
      const waitMs = startMs + at - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      check(await output.writeFrame(packet))
      packet.unref()
    }
    passMs += last + 40
    check(await input.seekFrame(0, 0n, 1 as never))
  }
}

/** Whoever has started it may be gone. */
function tell(message: { readonly is: string; readonly text?: string }): void {
  if (process.connected) process.send?.(message)
}

function check(status: number): void {
  FFmpegError.throwIfError(status)
}

if (import.meta.main) {
  const [, , url = '', offsetMs = '0', ...clips] = process.argv
  await publish(clips, url, Number(offsetMs)).catch((error: unknown) =>
    tell({ is: 'said', text: String(error) }),
  )
  await sleep(200) // FFmpeg's words come by another thread
  process.exit()
}
