import { printable } from '../../lib/errors.ts'

/** Several logs at once: whole lines, each with its part in front where there are several. */
export function writer(several: boolean): (part: string, chunk: Buffer, isError: boolean) => void {
  const rest = new Map<string, string>()
  return (part, chunk, isError) => {
    const key = `${part} ${isError}`
    const lines = `${rest.get(key) ?? ''}${chunk.toString('utf8')}`.split('\n')
    rest.set(key, lines.pop() ?? '')
    for (const line of lines)
      process.stdout.write(`${several ? `${part.padEnd(12)} ` : ''}${printable(line)}\n`)
  }
}
