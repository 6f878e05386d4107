import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type Dockerode from 'dockerode'
import { printable } from '../lib/errors.ts'
import { demux } from './demux.ts'
import { type Engine, orNone } from './engine.ts'
import { HEALTH_INTERVAL_MS, RESTARTS_MAX } from './limits.ts'
import type { Say } from './say.ts'

/** A program that has just been started does not answer yet, which is no news, ms. */
const QUIET_MS = 5000

/** How a container is. */
export interface Health {
  readonly ok: boolean
  /** In a line, for people. */
  readonly said: string
  /** It will not become well by waiting. */
  readonly hopeless: boolean
}

/**
 * Waits until a container is well, by the command that its image has as HEALTHCHECK. The engine itself asks only every
 * half minute, so that is run here each second; of its own the engine keeps account all the same.
 * @returns undefined when it is well, or why it is not
 */
export async function untilHealthy(
  engine: Engine,
  container: Dockerode.Container,
  { name, msMax, signal }: { readonly name: string; readonly msMax: number; readonly signal: AbortSignal },
  say: Say,
): Promise<string | undefined> {
  const startMs = Date.now()
  const endMs = startMs + msMax
  let last = ''
  for (;;) {
    const health = await healthOf(engine, container)
    if (health.ok) return undefined
    if (health.hopeless) return health.said
    if (Date.now() > endMs) return `${health.said} (for ${Math.round(msMax / 1000)} s)`
    if (health.said !== last && Date.now() - startMs > QUIET_MS) {
      last = health.said
      say(`  ${name}: ${last}`)
    }
    await sleep(HEALTH_INTERVAL_MS, undefined, { signal })
  }
}

export async function healthOf(engine: Engine, container: Dockerode.Container): Promise<Health> {
  const info = await engine.do('inspecting a container', () => orNone(container.inspect()))
  if (!info) return { ok: false, said: 'container not found', hopeless: true }
  const { Running: runs, Restarting: restarts } = info.State
  if (!runs || restarts) return endedAs({ ...info, State: { ...info.State, Running: false } })
  const check = (info.Config as { Healthcheck?: { Test?: string[] } }).Healthcheck?.Test ?? []
  const command =
    check[0] === 'CMD'
      ? check.slice(1)
      : check[0] === 'CMD-SHELL'
        ? ['/bin/sh', '-c', check[1] ?? 'true']
        : []
  if (command.length === 0) return { ok: true, said: 'running', hopeless: false }
  const { status, said, ended } = await engine.do('checking a container', () =>
    exec(engine, container, command),
  )
  if (ended) {
    const now = await engine.do('inspecting a container', () => orNone(container.inspect()))
    return endedAs(now ?? info)
  }
  if (status === 0) return { ok: true, said, hopeless: false }
  return { ok: false, said: said === '' ? 'starting' : said, hopeless: false }
}

/** Of one that does not run, or did not a moment ago. */
function endedAs({ State: state, RestartCount: restarts }: Dockerode.ContainerInspectInfo): Health {
  const times = restarts > 0 ? `, ${restarts + 1} times` : ''
  return {
    ok: false,
    said: state.Running
      ? `it exited and was restarted${times}`
      : `it exited with status ${state.ExitCode}${state.Error ? ` (${state.Error})` : ''}${times}`,
    // Of one that runs again, its status is gone: the next look, at its next end, has it.
    hopeless:
      !state.Running && (restarts >= RESTARTS_MAX || state.Status === 'exited' || state.Status === 'dead'),
  }
}

/** What runc says, as the output of the command, of a container that ends at this moment. */
const STOPPED = /cannot exec in a stopped state|container \S+ is not running/

async function exec(
  engine: Engine,
  container: Dockerode.Container,
  command: string[],
): Promise<{ status: number | null; said: string; ended: boolean }> {
  try {
    const run = await container.exec({ Cmd: command, AttachStdout: true, AttachStderr: true })
    const stream = await run.start({ hijack: false, stdin: false })
    const output = new PassThrough()
    engine.docker.modem.demuxStream(stream, output, output)
    stream.on('end', () => output.end()).on('error', (error: Error) => output.destroy(error))
    const said = (await text(output)).replaceAll('\r', '').trim()
    const { ExitCode: status } = await run.inspect()
    const line = printable(said.slice(said.lastIndexOf('\n') + 1)).slice(0, 500)
    return { status, said: line, ended: status !== 0 && STOPPED.test(said) }
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 409) return { status: null, said: '', ended: true }
    throw error
  }
}

/** The last lines of a container's log. */
export async function lastLines(
  engine: Engine,
  container: Dockerode.Container,
  count: number,
): Promise<string[]> {
  const raw = (await engine.do('reading a log', () =>
    container.logs({ stdout: true, stderr: true, tail: count, follow: false }),
  )) as unknown as Buffer
  let whole = ''
  demux()(raw, (chunk) => {
    whole += chunk
  })
  return printable(whole)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .map(forPeople)
}

/** Our programs log JSON (pino): the sentence is what counts in an error. */
function forPeople(line: string): string {
  try {
    const { level, code, msg } = JSON.parse(line) as { level?: number; code?: string; msg?: string }
    if (msg === undefined) return line
    return `${(level ?? 0) >= 50 ? 'error: ' : ''}${code === undefined ? '' : `${code}: `}${msg}`
  } catch {
    return line
  }
}
