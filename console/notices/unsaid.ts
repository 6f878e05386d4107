import { type Channel, SECRET } from './channel.ts'
import type { Outcome } from './outcome.ts'

/**
 * What came of an attempt, without the secrets of its channel: receivers say back what they were told, such as an error page
 * with the address in it. Pure.
 */
export function withoutSecrets(channel: Channel, outcome: Outcome): Outcome {
  const secrets = secretsOf(channel)
  const hidden = (text: string) => secrets.reduce((left, secret) => left.replaceAll(secret, SECRET), text)
  return {
    ...outcome,
    ...('answer' in outcome && outcome.answer !== undefined && { answer: hidden(outcome.answer) }),
    ...('why' in outcome && { why: hidden(outcome.why) }),
  }
}

/** What is shorter is in other texts, too. */
const PATH_CHARACTERS_MIN = 8

/** As they may be said back; the longest first. */
function secretsOf(channel: Channel): string[] {
  if (channel.type !== 'webhook') return []
  const { token, secret, url } = channel
  const address = URL.parse(url)
  const { pathname = '', search = '', username = '', password = '' } = address ?? {}
  const parts = [pathname + search, pathname, ...pathname.split('/'), ...new URLSearchParams(search).values()]
  const name = [username, password].map(decoded).join(':')
  const found = [
    token,
    ...(secret?.split(' ') ?? []),
    ...(password === '' ? [] : [password, Buffer.from(name).toString('base64')]),
    ...parts.filter((part) => part.length >= PATH_CHARACTERS_MIN),
  ]
  return [...new Set(found.flatMap((it) => (it ? [it, decoded(it), encodeURIComponent(it)] : [])))].sort(
    (a, b) => b.length - a.length,
  )
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
