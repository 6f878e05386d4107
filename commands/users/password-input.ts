import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { readSecret } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'

/** How a password comes in; at most one is given. */
export interface PasswordWay {
  readonly file: string | undefined
  readonly generate: boolean
  readonly none: boolean
}

/** What is shorter is found by trying (NIST SP 800-63B, 3.1.1). */
const CHARACTERS_MIN = 8
const GENERATED_BYTES = 16

/** @returns undefined where there is to be none. Errors: USAGE, CONFIG_NOT_FOUND */
export async function readPassword(name: string, way: PasswordWay): Promise<string | undefined> {
  const { file, generate, none } = way
  if (Number(file !== undefined) + Number(generate) + Number(none) > 1)
    throw failure('USAGE', 'Give one of --password-file, --generate and --no-password.')
  if (none) return undefined
  if (generate) return randomBytes(GENERATED_BYTES).toString('hex')
  let password: string | undefined
  if (file !== undefined) password = readSecret(`user "${name}"`, { passwordFile: file })
  else if (process.stdin.isTTY) password = await askTwice(name)
  else password = await firstLine()
  if (password === undefined || password === '')
    throw failure('USAGE', 'The password is empty. Type one, or give --password-file FILE or --generate.')
  if ([...password].length < CHARACTERS_MIN)
    throw failure(
      'USAGE',
      `The password is too short: it needs at least ${CHARACTERS_MIN} characters. --generate makes a good one.`,
    )
  return password
}

async function askTwice(name: string): Promise<string> {
  const password = await ask(`Password for ${name}: `)
  if (password !== (await ask('Repeat the password: ')))
    throw failure('USAGE', 'The passwords do not match. Nothing is changed; try again.')
  return password
}

/** Without showing what is typed. */
function ask(question: string): Promise<string> {
  process.stderr.write(question)
  const output = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = createInterface({ input: process.stdin, output, terminal: true, historySize: 0 })
  return new Promise<string>((resolve, reject) => {
    const cancel = () => reject(failure('USAGE', 'Cancelled: no password given. Nothing is changed.'))
    terminal.once('line', resolve)
    terminal.once('SIGINT', cancel)
    terminal.once('close', cancel)
  }).finally(() => {
    terminal.close()
    process.stderr.write('\n')
  })
}

async function firstLine(): Promise<string | undefined> {
  for await (const line of createInterface({ input: process.stdin })) return line
  return undefined
}
