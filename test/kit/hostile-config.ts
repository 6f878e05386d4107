import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { brokerSchema, checkBrokerConfig } from '../../broker/config.ts'
import { checkSubscriberConfig, subscriberSchema } from '../../cloud-subscriber/config.ts'
import { checkDeviceConfig, deviceSchema } from '../../device/config.ts'
import { checkInferenceConfig, inferenceSchema } from '../../inference/config.ts'
import { loadConfig } from '../../lib/config.ts'
import { SightlineError } from '../../lib/errors.ts'
import { Mutator } from './mutate.ts'

/** Configurations that mean harm, or were made by a cat on the keyboard, and what must hold whatever they are. */

/** Of the processor's time: the machine may have other work. */
export const LOAD_MS_MAX = 1000
const TRIES = 3
const SENTENCE_CHARACTERS_MAX = 20_000
const CONF = resolve(import.meta.dirname, '..', '..', 'conf')

const PROGRAMS = [
  {
    files: ['broker.yaml', 'edge-broker.yaml', 'cloud-broker.yaml'],
    load: (options: Parameters<typeof loadConfig>[1]) => checkBrokerConfig(loadConfig(brokerSchema, options)),
  },
  {
    files: ['subscriber.yaml'],
    load: (options: Parameters<typeof loadConfig>[1]) =>
      checkSubscriberConfig(loadConfig(subscriberSchema, options)),
  },
  {
    files: ['device.yaml'],
    load: (options: Parameters<typeof loadConfig>[1]) => checkDeviceConfig(loadConfig(deviceSchema, options)),
  },
  {
    files: ['inference.yaml'],
    load: (options: Parameters<typeof loadConfig>[1]) =>
      checkInferenceConfig(loadConfig(inferenceSchema, options)),
  },
] as const

export interface HostileConfig {
  readonly program: (typeof PROGRAMS)[number]
  readonly yaml: Buffer
  readonly env: Readonly<Record<string, string>>
}

const texts = new Map<string, string>()

function conf(file: string): string {
  let text = texts.get(file)
  if (text === undefined) {
    // Without its explanations, so that what is changed counts; with the examples, which are comments too.
    text = readFileSync(join(CONF, file), 'utf8').replace(/^\s*# [A-Z].*\n/gm, '')
    texts.set(file, text)
  }
  return text
}

/** The input of this seed. */
export function hostileConfig(seed: number): HostileConfig {
  const m = new Mutator(seed)
  const program = m.of(PROGRAMS)
  const text = conf(m.of<string>(program.files))
  const yaml = m.of<() => string | Buffer>([
    () => text,
    () => m.bytes(Buffer.from(text), [Buffer.from(conf('broker.yaml'))]),
    () => linesChanged(m, text),
    () => linesChanged(m, text),
    () => linesChanged(m, text),
    () => bomb(m),
    () => `${text}\n${bomb(m)}`,
    () => m.noise(m.few(400)),
    () => m.text(),
  ])()
  const env = Object.fromEntries(Array.from({ length: m.few(4) }, () => variable(m, text)))
  return { program, yaml: Buffer.from(yaml), env }
}

const VALUES: readonly string[] = [
  ...[
    '',
    '~',
    'null',
    'true',
    'yes',
    '0',
    '-1',
    '1.5',
    '1e999',
    '-.inf',
    '.nan',
    '0x1F',
    '0o17',
    '123456789012345678901',
  ],
  ...[
    '10s',
    '1e3s',
    '-5s',
    '99999999999999999999d',
    '1.5MB',
    '9999999999999999999TB',
    `${'9'.repeat(400)}GB`,
    '10 cows',
  ],
  ...[
    '[]',
    '{}',
    '[1, 2]',
    '{a: 1}',
    '[[[[]]]]',
    '{{a: b}: c}',
    '? [a]',
    '"\\0"',
    '"\\x1b[2J"',
    '"\\ud800"',
    "'",
    '"',
    '|',
    '>-',
  ],
  ...[
    '*a',
    '&a',
    '&a [*a]',
    '&a {b: *a}',
    '!!binary aGVsbG8=',
    '!!js/function "x"',
    '!!set {a}',
    '!!omap [a: 1]',
    '!!timestamp 2001-01-01',
    '!<x> y',
  ],
  ...[
    'mqtt://u:p@h:1',
    'mqtt://',
    'http://x',
    'mqtt://[::1]:99999',
    '0.0.0.0',
    '::',
    '../../etc/passwd',
    '%s%n',
    '@{',
    '`',
    '%YAML 1.1',
  ],
]

const KEYS: readonly string[] = [
  ...[
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'length',
    '<<',
    'null',
    'true',
    '1',
    '""',
    '"\\x1b]0;x\\x07"',
  ],
  ...['[a, b]', '{a: b}', '*a', '? ', '-', '"a.b"', 'password', 'x'.repeat(2000)],
]

function linesChanged(m: Mutator, text: string): string {
  const lines = text.split('\n')
  for (let change = m.few(8); change >= 0; change -= 1) {
    const at = m.pick(lines.length)
    const line = lines[at] as string
    lines[at] = m.of([
      () => line.replace(/:.*/, () => `: ${m.of(VALUES)}`),
      () => line.replace(/:.*/, () => `: ${JSON.stringify(m.text())}`),
      () => line.replace(/[\w]+:/, () => `${m.of(KEYS)}:`),
      () => line.replace(/^(\s*)# ?/, '$1'), // an example that is switched on
      () => `${line}\n${line}`,
      () => m.of(lines),
      () => '',
      () => `\t${line}`,
      () => ' '.repeat(m.pick(9)) + line.trimStart(),
      () => `- ${line}`,
      () =>
        `${line}\n${m.of(['---', '...', '%YAML 1.1\n---', '%TAG ! x:y', '# \0', '\ufeff', '\u2028', '\r'])}`,
    ])()
  }
  return (m.chance(0.05) ? '%YAML 1.1\n---\n' : '') + lines.join(m.chance(0.05) ? '\r\n' : '\n')
}

/** Small texts that mean a lot of work. */
function bomb(m: Mutator): string {
  const depth = m.of([10, 200, 3000, 20_000])
  return m.of([
    () =>
      `a0: &a0 [x]\n${Array.from({ length: 30 }, (_, n) => `a${n + 1}: &a${n + 1} [${`*a${n},`.repeat(9)}]`).join('\n')}`,
    () => `a: &a {x: &b [*a, *b]}\nname: *a`,
    () => `name: &a [*a, *a, *a]\nhttp: *a`,
    () => `x: ${'['.repeat(depth)}`,
    () => `x: ${'['.repeat(depth)}${']'.repeat(depth)}`,
    () => `x: ${'{a: '.repeat(depth)}1${'}'.repeat(depth)}`,
    () => Array.from({ length: Math.min(depth, 1500) }, (_, n) => `${' '.repeat(n)}a:`).join('\n'),
    () => '- '.repeat(depth),
    () => '? '.repeat(depth),
    () => '!a '.repeat(depth),
    () => '&a '.repeat(depth),
    () => 'a: '.repeat(depth),
    () => `x: "${'\\'.repeat(depth)}`,
    () => `x: ${'#'.repeat(depth)}\n${'\t'.repeat(depth)}`,
    () => Array.from({ length: depth }, (_, n) => `k${n}: ${n}`).join('\n'),
    () => `users: [${'{}, '.repeat(depth)}]`,
    () => `name: ${'9'.repeat(depth * 5)}`,
    () => `drain: {deadline: "${' '.repeat(depth * 5)}"}`,
    () => `drain: {deadline: "${'1'.repeat(depth * 5)}s"}`,
  ])()
}

function variable(m: Mutator, text: string): [string, string] {
  const keys = [...text.matchAll(/^\s*(?:# )?(?:- )?(\w+):/gm)].map(([, key]) => key as string)
  const part = () =>
    m.of([
      () =>
        m
          .of(keys)
          .replace(/[A-Z]/g, (letter) => `_${letter}`)
          .toUpperCase(),
      () => m.of(['0', '1', '-1', '99', '4294967294', '4294967295', '1e9', '0.5', '00']),
      () =>
        m.of([
          'LENGTH',
          'CONSTRUCTOR',
          'PROTOTYPE',
          '_PROTO_',
          '__PROTO__',
          'TO_STRING',
          'MAP',
          '',
          'x.y',
          ' ',
        ]),
    ])()
  const name = `SIGHTLINE_${Array.from({ length: 1 + m.few(3) }, part).join('__')}`
  const value = m.of([() => m.of(VALUES), () => m.text(), () => bomb(m)])()
  return [name, value.replaceAll('\0', '')]
}

const PROTOTYPE = Object.getOwnPropertyNames(Object.prototype).sort().join()

export interface LoadOutcome {
  /** What must not be; undefined where all is well. */
  readonly broken?: string
  /** `valid`, or the code of the error. */
  readonly kind: string
  readonly ms: number
}

/** Loads it as the program would, from a file. @param folder for that file */
export function judgeLoading(config: HostileConfig, folder: string): LoadOutcome {
  let best = load(config, folder)
  for (let again = 1; again < TRIES && best.ms > LOAD_MS_MAX; again += 1) {
    const next = load(config, folder)
    if (next.ms < best.ms) best = next
  }
  return best.ms > LOAD_MS_MAX ? { broken: `it took ${best.ms.toFixed(0)} ms of CPU`, ...best } : best
}

function load({ program, yaml, env }: HostileConfig, folder: string): LoadOutcome {
  const file = join(folder, 'hostile.yaml')
  writeFileSync(file, yaml)
  const start = process.cpuUsage()
  let kind = 'valid'
  let broken: string | undefined
  try {
    program.load({ file, env })
  } catch (error) {
    if (error instanceof SightlineError && error.code.startsWith('CONFIG_')) {
      kind = error.code
      if (error.message.trim() === '') broken = 'an error without a sentence'
      if (error.message.length > SENTENCE_CHARACTERS_MAX)
        broken = `a sentence of ${error.message.length} characters`
      // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
      if (/[\0-\x09\x0b-\x1f\x7f]/.test(error.message))
        broken = `control characters in ${JSON.stringify(error.message.slice(0, 300))}`
    } else {
      kind = 'another error'
      broken = `it threw ${error instanceof Error ? error.stack?.split('\n').slice(0, 3).join(' ') : error}`
    }
  }
  const { user, system } = process.cpuUsage(start)
  if (Object.getOwnPropertyNames(Object.prototype).sort().join() !== PROTOTYPE)
    broken = 'Object.prototype was changed'
  return { ...(broken === undefined ? {} : { broken }), kind, ms: (user + system) / 1000 }
}
