import { writeFileSync } from 'node:fs'
import { brokerQuarantine } from '../../broker/quarantine.ts'
import type { QuarantineHeader } from '../../cloud-subscriber/entry.ts'
import { openLanes } from '../../cloud-subscriber/lanes.ts'
import { savedRules, subscriberQuarantine } from '../../cloud-subscriber/quarantine.ts'
import { consoleQuarantine, isConsoleStore } from '../../console/quarantine.ts'
import { isOutbox } from '../../device/link/outbox.ts'
import { outboxQuarantine } from '../../device/link/outbox-commands.ts'
import type { Handler } from '../../lib/control.ts'
import { failure, systemCode } from '../../lib/errors.ts'
import { inOneLine, size } from '../../lib/table.ts'
import {
  isQuarantine,
  QUARANTINE_COMMAND,
  type QuarantineOutcome,
  type QuarantineRequest,
} from '../../store/quarantine.ts'
import type { Store } from '../../store/store.ts'
import { StoreView } from '../../store/view.ts'
import { actOnStore } from '../held-store.ts'

/** `sightline quarantine`. */

interface Entry extends QuarantineHeader {
  readonly number: number
  /** `quarantine`, or `quarantine/<bridge>`. */
  readonly queue: string
  /** When it was quarantined, ms since 1970. */
  readonly atMs: number
  readonly bytes: number
}

/** A line of list is for an overview; show has it all. */
const TOPIC_LENGTH_MAX = 80
const DETAIL_LENGTH_MAX = 120

function entriesOf(store: StoreView): Entry[] {
  return store
    .names()
    .filter(isQuarantine)
    .flatMap((name) =>
      [...(store.entries(name) ?? [])].map(({ sequence, atMs, bytes, header }) => {
        const { topic, reason, detail, receivedAtMs } = JSON.parse(header.toString()) as QuarantineHeader
        return {
          number: sequence,
          queue: inOneLine(name),
          atMs,
          bytes,
          receivedAtMs,
          topic: inOneLine(topic),
          reason: inOneLine(reason),
          detail: inOneLine(detail),
        }
      }),
    )
    .sort((a, b) => a.number - b.number)
}

/** @returns a line for each, oldest first. Errors: STORE_NOT_FOUND, STORE_CORRUPT */
export async function list(folder: string, countMax: number, json: boolean): Promise<string> {
  await using store = StoreView.open(folder)
  const entries = entriesOf(store)
  const shown = entries.slice(0, countMax)
  if (json) return shown.map((entry) => `${JSON.stringify(entry)}\n`).join('')
  if (entries.length === 0) return 'Quarantine is empty.\n'
  const width = String(shown.at(-1)?.number).length
  const lines = shown.map(({ number, queue, atMs, bytes, topic, reason, detail }) =>
    [
      String(number).padStart(width),
      new Date(atMs).toISOString(),
      size(bytes).padStart(8),
      ...(queue === 'quarantine' ? [] : [queue.slice('quarantine/'.length)]),
      cut(topic, TOPIC_LENGTH_MAX),
      cut(`${reason}: ${detail}`, DETAIL_LENGTH_MAX),
    ].join('  '),
  )
  if (entries.length > countMax) lines.push(`... and ${entries.length - countMax} more (--max)`)
  return lines.map((line) => `${line}\n`).join('')
}

/** Writes what is known of a message, and its payload where it is wanted. Errors: STORE_NOT_FOUND, STORE_CORRUPT, MESSAGE_NOT_FOUND, USAGE */
export async function show(
  folder: string,
  number: number,
  out: string | undefined,
  json: boolean,
  print: (text: string) => void,
): Promise<void> {
  if (out === '-' && process.stdout.isTTY)
    throw failure(
      'USAGE',
      'The payload is binary and not shown on a terminal. Name a file, or redirect the output.',
    )
  await using store = StoreView.open(folder)
  const entry = entriesOf(store).find((entry) => entry.number === number)
  const payload = store.body(number)
  if (!entry || !payload)
    throw failure(
      'MESSAGE_NOT_FOUND',
      `Message ${number} not found in quarantine in ${folder}. See sightline quarantine list.`,
    )
  const { queue, atMs, bytes, receivedAtMs, topic, reason, detail } = entry
  const facts = {
    number: String(number),
    queue,
    quarantined: new Date(atMs).toISOString(),
    received: new Date(receivedAtMs).toISOString(),
    size: `${bytes} bytes`,
    topic,
    reason,
    detail,
  }
  const text = json
    ? `${JSON.stringify(entry)}\n`
    : Object.entries(facts)
        .map(([name, value]) => `${name.padEnd(11)}  ${value}\n`)
        .join('')
  if (out === '-') {
    process.stderr.write(text)
    process.stdout.write(payload)
    return
  }
  if (out !== undefined) writeNew(out, payload)
  print(text)
  if (out !== undefined && !json) print(`${'written to'.padEnd(11)}  ${out}\n`)
}

function writeNew(file: string, payload: Buffer): void {
  try {
    writeFileSync(file, payload, { flag: 'wx', mode: 0o600 }) // it may well be a face
  } catch (error) {
    throw failure(
      'FOLDER_UNWRITABLE',
      systemCode(error) === 'EEXIST'
        ? `${file} already exists and is not overwritten. Name a new file.`
        : `Cannot write ${file} (${systemCode(error)}). Name another file.`,
      error,
    )
  }
}

/** @returns the exit status. Errors: STORE_NOT_FOUND, STORE_LOCKED and those of the program that runs */
export async function act(
  folder: string,
  request: QuarantineRequest,
  json: boolean,
  print: (text: string) => void,
): Promise<number> {
  const counts = new Map<string, number>()
  for await (const item of actOnStore(folder, QUARANTINE_COMMAND, request, (store) => ({
    [QUARANTINE_COMMAND]: handlerOf(store),
  }))) {
    const { number, topic = '', outcome, detail } = item as QuarantineOutcome
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
    const about = {
      number,
      outcome: outcome === 'gone' ? 'not in quarantine' : outcome,
      topic: inOneLine(topic),
      ...(detail === undefined ? {} : { detail: inOneLine(detail) }),
    }
    const line = json
      ? JSON.stringify(about)
      : [
          number,
          about.outcome,
          cut(about.topic, TOPIC_LENGTH_MAX),
          cut(about.detail ?? '', DETAIL_LENGTH_MAX),
        ]
          .filter((part) => part !== '')
          .join('  ')
    print(`${line}\n`)
  }
  if (!json) print(`${sumOf(counts)}\n`)
  return counts.has('gone') ? 66 : 0
}

function sumOf(counts: ReadonlyMap<string, number>): string {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
  if (total === 0) return 'Quarantine was empty.'
  const parts = [...counts].map(
    ([outcome, count]) => `${count} ${outcome === 'gone' ? 'not found' : outcome}`,
  )
  return `${total} ${total === 1 ? 'message' : 'messages'}: ${parts.join(', ')}.`
}

/** Of a program that is stopped. */
function handlerOf(store: Store): Handler {
  if (isOutbox(store)) return outboxQuarantine(store)
  const [inbox, quarantine] = [store.queues.get('inbox'), store.queues.get('quarantine')]
  if (!inbox || !quarantine) return brokerQuarantine(store)
  if (isConsoleStore(store)) return consoleQuarantine({ store, inbox, quarantine })
  return subscriberQuarantine({ store, lanes: openLanes(store), quarantine }, savedRules(store))
}

const cut = (text: string, lengthMax: number) =>
  text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 3)}...`
