import type { NewNotice } from './fact.ts'

/** What a rule's own title and text may have in braces. Pure. */
export const PLACEHOLDERS = [
  'scenario',
  'rule',
  'site',
  'device',
  'camera',
  'zones',
  'count',
  'time',
  'masked',
  'attributes',
] as const
type Placeholder = (typeof PLACEHOLDERS)[number]

/** What is not known is left out; braces of anything else stay as they are. */
export function fillPlaceholders(text: string, notice: NewNotice['notice']): string {
  return text.replace(/\{([a-z]+)\}/g, (whole, name: string) =>
    (PLACEHOLDERS as readonly string[]).includes(name) ? partOf(name as Placeholder, notice) : whole,
  )
}

function partOf(name: Placeholder, notice: NewNotice['notice']): string {
  switch (name) {
    case 'scenario':
    case 'rule':
      return notice[name].name
    case 'zones':
      return notice.zones?.join(', ') ?? ''
    case 'count':
      return notice.count === undefined ? '' : String(notice.count)
    case 'time':
      return new Date(notice.atMs).toISOString().replace(/\.\d+Z$/, 'Z')
    case 'masked':
      return notice.masked === undefined ? '' : notice.masked ? 'with a mask' : 'without a mask'
    case 'attributes':
      return (notice.attributes ?? [])
        .map(({ name, label, score }) => `${name}: ${label} (${Math.round(score * 100)} %)`)
        .join(', ')
    default:
      return notice[name] ?? ''
  }
}
