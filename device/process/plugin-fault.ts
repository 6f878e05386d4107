import { fileURLToPath } from 'node:url'

/** A place in a stack, or before a syntax error: `file:///home/me/my.ts:12:5`, `/home/me/my.ts:12`. */
const PLACE = /(file:\/\/[^\s()]+?|(?<=[\s(]|^)\/[^\s():]+):(\d+)(?::\d+)?/gm
const SENTENCE_CHARACTERS_MAX = 600

/** What code of somebody else's has thrown, as a sentence that says where: file and line. Never throws. */
export function sentenceOf(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return sentence(`it threw ${String(thrown)}`)
    const message = `${thrown.message || thrown.name}`.replace(/\s*\n\s*/g, ' ')
    const where = placeOf(thrown.stack ?? '')
    return sentence(where === undefined || message.includes(where) ? message : `${message} (${where})`)
  } catch {
    return 'it threw something that cannot be read.'
  }
}

const sentence = (text: string) => `${text.slice(0, SENTENCE_CHARACTERS_MAX).replace(/[.\s]+$/, '')}.`

/** The first place that is a file's of theirs. */
function placeOf(stack: string): string | undefined {
  for (const [, file = '', line] of stack.matchAll(PLACE)) {
    const path = file.startsWith('file://') ? fileURLToPath(file.replace(/\?.*$/, '')) : file
    if (!path.startsWith(import.meta.dirname)) return `${path}:${line}`
  }
  return undefined
}
