import { createHash } from 'node:crypto'
import type { FastifyReply } from 'fastify'

/** Small pages that need no script: of signing in, and of shares. Whatever is put into them is escaped. */

export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

type Part = string | number | Html | readonly Html[]

/** A template whose values are text, but where they are HTML themselves. */
export function html(strings: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...values.map(textOf)))
}

function textOf(value: Part): string {
  if (value instanceof Html) return value.text
  if (typeof value === 'string' || typeof value === 'number') return escaped(String(value))
  return value.map(textOf).join('')
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '')

const STYLE = `
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #16191d; --quiet: #5c6570; --line: #d5dae0; --strong: #1f5fd0; --wrong: #b3261e }
@media (prefers-color-scheme: dark) { :root { --back: #111417; --card: #1a1e23; --text: #e8ebee; --quiet: #9aa4af; --line: #343b43; --strong: #7fb0ff; --wrong: #ff8a80 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, sans-serif }
main { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 70rem }
main.narrow { max-width: 24rem; padding-top: 12vh }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; overflow-wrap: anywhere }
p { margin: .5rem 0 }
.quiet { color: var(--quiet); font-size: .9rem }
.wrong { color: var(--wrong) }
form { display: grid; gap: .9rem; margin: 1rem 0 }
label { display: grid; gap: .25rem }
input { font: inherit; padding: .6rem .7rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--card); color: inherit }
button, .button { font: inherit; font-weight: 600; padding: .65rem; border: 1px solid var(--strong); border-radius: .4rem; background: var(--strong); color: var(--card); text-align: center; text-decoration: none; cursor: pointer; display: block }
.button.second { background: none; color: var(--strong) }
:focus-visible { outline: 3px solid var(--strong); outline-offset: 2px }
.faces { list-style: none; margin: 1.2rem 0; padding: 0; display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)) }
.faces.one { grid-template-columns: minmax(0, 26rem) }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden }
video { display: block; width: 100%; max-height: 80vh; background: #000; border-radius: .5rem; margin: 1rem 0 }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000 }
figcaption { padding: .5rem .6rem; font-size: .85rem; overflow-wrap: anywhere }
`

const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "img-src 'self'",
  "media-src 'self' blob:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function sendPage(reply: FastifyReply, title: string, body: Html): FastifyReply {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
${body}
</body>
</html>
`
  return reply
    .headers({ 'content-security-policy': POLICY, 'cache-control': 'no-store', 'x-robots-tag': 'noindex' })
    .type('text/html; charset=utf-8')
    .send(page.text)
}
