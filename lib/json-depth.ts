/**
 * How deep JSON is nested, told from its text: what is nested a hundred thousand times can be read, and then breaks whatever
 * walks through it, also `JSON.stringify`. Of a text that is no JSON it says nothing. Pure.
 */
export function isDeeperThan(json: Uint8Array, depthMax: number): boolean {
  let depth = 0
  let isText = false
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at]
    if (isText) {
      if (byte === BACKSLASH) at += 1
      else if (byte === QUOTE) isText = false
    } else if (byte === QUOTE) isText = true
    else if (byte === BRACKET || byte === BRACE) {
      depth += 1
      if (depth > depthMax) return true
    } else if (byte === BRACKET_END || byte === BRACE_END) depth -= 1
  }
  return false
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const BRACKET = 0x5b
const BRACKET_END = 0x5d
const BRACE = 0x7b
const BRACE_END = 0x7d
