import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from './ports.ts'
import { type Test, temporaryFolder } from './programs.ts'
import { until } from './wait.ts'

/** SIGHTLINE_TEST_MOSQUITTO names the program (`/usr/sbin/mosquitto`); without it such tests say so and are skipped. */
const PROGRAM = process.env.SIGHTLINE_TEST_MOSQUITTO
/** For tap's `skip`. */
export const skipWithoutMosquitto: string | false = PROGRAM
  ? false
  : 'SIGHTLINE_TEST_MOSQUITTO names no Mosquitto 2'

export class Mosquitto {
  readonly port: number
  readonly #start: () => Promise<void>
  readonly #stop: () => Promise<void>

  private constructor(port: number, start: () => Promise<void>, stop: () => Promise<void>) {
    this.port = port
    this.#start = start
    this.#stop = stop
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`
  }

  /** A real Mosquitto on a free port, anyone may do everything; ended with the test. */
  static async start(t: Test, lines: readonly string[] = []): Promise<Mosquitto> {
    const port = await freePort()
    const folder = temporaryFolder(t)
    const file = join(folder, 'mosquitto.conf')
    const settings = [
      `listener ${port} 127.0.0.1`,
      'allow_anonymous true',
      'persistence true',
      `persistence_location ${folder}/`,
      'max_queued_messages 0',
      // Started by root it would become another user, who may not write to the test's folder.
      ...(process.getuid?.() === 0 ? ['user root'] : []),
    ]
    writeFileSync(file, [...settings, ...lines, ''].join('\n'))
    let child: ReturnType<typeof spawn> | undefined
    const stop = async () => {
      if (!child || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM') // it writes its state only then
      await ended
    }
    const start = async () => {
      child = spawn(PROGRAM as string, ['-c', file], { stdio: 'ignore' })
      await until('Mosquitto listens', () => listens(port))
    }
    t.after(stop)
    await start()
    return new Mosquitto(port, start, stop)
  }

  async restart(): Promise<void> {
    await this.#stop()
    await this.#start()
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
