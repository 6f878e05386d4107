import { readFile } from 'node:fs/promises'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { restartsAfterHang } from './launcher.ts'
import { certificatesRead } from './tls/certificates.ts'

export type { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Peak and present anonymous memory, bytes. LMDB maps its file, so RSS says little; RssAnon is what bounds mean. */
export async function anonymousMemoryBytes(pid: number | 'self' = 'self'): Promise<number | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const match = /^RssAnon:\s+(\d+) kB$/m.exec(status)
    return match ? Number(match[1]) * 1024 : undefined
  } catch {
    return undefined // no /proc on this system: the gauge is absent rather than wrong
  }
}

/** A registry of one program's metrics; names start with `sightline_`. */
export function openMetrics(program: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ program })
  const memory = new Gauge({
    name: 'sightline_memory_bytes',
    help: 'Memory of this process: anonymous (RssAnon, to which limits apply), JavaScript heap, buffers',
    labelNames: ['kind'],
    registers: [registry],
    async collect() {
      const { heapTotal, arrayBuffers } = process.memoryUsage()
      memory.set({ kind: 'heap' }, heapTotal)
      memory.set({ kind: 'buffers' }, arrayBuffers)
      const bytes = await anonymousMemoryBytes()
      if (bytes !== undefined) memory.set({ kind: 'anonymous' }, bytes)
    },
  })
  counter(
    registry,
    'watchdog_restarts_total',
    'Times the launcher killed and restarted this program because it hung',
  ).inc(restartsAfterHang())
  gauge(
    registry,
    'certificate_valid_until_seconds',
    'When a certificate of this program expires, seconds since 1970',
    ['file'],
    (made) => {
      for (const [file, untilMs] of certificatesRead()) made.set({ file }, untilMs / 1000)
    },
  )
  return registry
}

export function counter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[] = [],
): Counter<L> {
  return new Counter({ name: `sightline_${name}`, help, labelNames: [...labelNames], registers: [registry] })
}

export function gauge<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[] = [],
  collect?: (gauge: Gauge<L>) => void,
): Gauge<L> {
  const made: Gauge<L> = new Gauge({
    name: `sightline_${name}`,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    collect: collect ? () => collect(made) : undefined,
  })
  return made
}

export function histogram<L extends string = never>(
  registry: Registry,
  name: string,
  help: string,
  buckets: number[],
  labelNames: readonly L[] = [],
): Histogram<L> {
  return new Histogram({ name: `sightline_${name}`, help, buckets, labelNames, registers: [registry] })
}

/** What a counter counted, all labels together. */
export async function total(counter: Counter): Promise<number> {
  return (await counter.get()).values.reduce((sum, { value }) => sum + value, 0)
}
