import type { Detection } from '../database/detection.ts'
import type { NewNotice } from './fact.ts'
import type { Compiled, Said } from './memory.ts'
import { noticeId } from './notice-id.ts'
import { fillPlaceholders } from './placeholders.ts'
import { duration, wordsOf } from './sentences.ts'
import { objectOf, placeOf, rankOf, type Subject, toldOf } from './subject.ts'

/** What a rule says, and what it says of that later. Pure. */

/** @param occurrence what it is told of, once @param edgeMs when that began */
export function newlySaid(
  { published, rule }: Compiled,
  occurrence: string,
  edgeMs: number,
  subject: Subject,
): Said {
  const { id: scenario } = published
  const key = `${scenario}/${rule.id}/${occurrence}`
  const { camera, detection } = subject
  const words = wordsOf(rule, toldOf(subject, false))
  const bare: NewNotice['notice'] = {
    id: noticeId(key, edgeMs),
    is: 'new',
    atMs: subject.atMs,
    scenario: { id: scenario, name: published.scenario.name },
    rule: { id: rule.id, name: rule.name },
    level: rule.level,
    ...words,
    ...placeOf(subject),
    ...(subject.track !== undefined && { track: subject.track }),
    ...(subject.looked.zones.length > 0 && { zones: [...subject.looked.zones] }),
    ...(subject.looked.masked !== undefined && { masked: subject.looked.masked }),
    ...(subject.looked.attributes.length > 0 && { attributes: [...subject.looked.attributes] }),
    ...(subject.count !== undefined && { count: subject.count }),
    ...(detection && { detection: detection.id }),
    ...(rule.on === 'arrival' && { object: objectOf(subject) }),
  }
  const notice = {
    ...bare,
    ...(rule.title !== undefined && { title: fillPlaceholders(rule.title, bare).slice(0, 200) }),
    ...(rule.text !== undefined && { text: fillPlaceholders(rule.text, bare).slice(0, 2000) }),
  }
  return { key, rank: detection ? rankOf(detection) : 0, notice, ...(camera && { camera }) }
}

/** With a better picture; undefined: it is none. */
export function better(said: Said, detection: Detection): Said | undefined {
  if (said.notice.detection === detection.id) return undefined
  const rank = rankOf(detection)
  if (said.notice.detection !== undefined && rank <= said.rank) return undefined
  const notice: NewNotice['notice'] = {
    ...said.notice,
    is: 'updated',
    detection: detection.id,
    ...(detection.masked !== undefined && { masked: detection.masked }),
    ...(detection.zones && { zones: detection.zones }),
    ...(detection.attributes.length > 0 && { attributes: detection.attributes }),
  }
  return { ...said, rank, notice }
}

/** @param subject absent: nothing is known of what it is like now */
export function ended({ rule }: Compiled, said: Said, subject: Subject | undefined, lastedMs: number): Said {
  const words = subject && wordsOf(rule, toldOf(subject, true))
  const notice: NewNotice['notice'] = {
    ...said.notice,
    is: 'ended',
    ...(subject?.count !== undefined && { count: subject.count }),
    text: `${said.notice.text} It has ended after ${duration(lastedMs)}.`.slice(0, 2000),
    ...(words && rule.title === undefined && rule.on !== 'presence' && { title: words.title }),
  }
  return { ...said, notice }
}

export const noticeOf = ({ rule }: Compiled, { notice, key, camera }: Said): NewNotice => ({
  notice,
  key,
  channels: rule.notify,
  ...(camera && { camera }),
})
