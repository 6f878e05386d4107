/**
 * Names of sites, devices and cameras. They become topic levels, object keys, folders and HTML, so the alphabet
 * is the one that is safe in all of them: letters, digits, dash and underscore, at most 63, no leading dash.
 */
export const NAME_PATTERN = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$/

export function isName(text: unknown): text is string {
  return typeof text === 'string' && NAME_PATTERN.test(text)
}

export const NAME_RULE = 'letters, digits, dash and underscore, at most 63 of them, not starting with a dash'
