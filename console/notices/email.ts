import nodemailer from 'nodemailer'
import { readSecret } from '../../lib/config.ts'
import type { Notice } from '../../wire/notice.ts'
import { type Html, html } from '../access/html.ts'
import type { ConsoleConfig } from '../config.ts'
import { answerText, type Outcome } from './outcome.ts'

/** Notices as mail, over the operator's server. */

type Smtp = NonNullable<ConsoleConfig['notices']['smtp']>

const CONNECTIONS_MAX = 4
const CONNECT_MS_MAX = 5_000
const SILENT_MS_MAX = 10_000
const PICTURE_ID = 'face@sightline'
/** SMTP's permanent failures that somebody can put right: who we are, and what we may. */
const WORTH_ANOTHER_TRY = new Set([530, 534, 535, 538])

export interface Mail {
  readonly to: readonly string[]
  readonly notice: Notice
  /** JPEG. */
  readonly picture: Uint8Array | undefined
}

export class Mailer implements Disposable {
  readonly #smtp: Smtp
  readonly #transport: ReturnType<typeof transportOf>

  private constructor(smtp: Smtp, ca: string | undefined) {
    this.#smtp = smtp
    this.#transport = transportOf(smtp, ca)
  }

  /** Errors: those of a secret's file. */
  static open(smtp: Smtp, ca?: string): Mailer {
    return new Mailer(smtp, ca)
  }

  async send(mail: Mail): Promise<Outcome> {
    try {
      const sent = await this.#transport.sendMail(messageOf(mail, this.#smtp.from))
      const refused = sent.rejected.length > 0 ? ` Not taken: ${sent.rejected.join(', ')}.` : ''
      return { is: 'sent', status: statusOf(sent.response), answer: answerText(`${sent.response}${refused}`) }
    } catch (error) {
      return outcomeOf(error)
    }
  }

  [Symbol.dispose](): void {
    this.#transport.close()
  }
}

function transportOf(smtp: Smtp, ca: string | undefined) {
  const { host, port, tls, user } = smtp
  return nodemailer.createTransport({
    pool: true,
    maxConnections: CONNECTIONS_MAX,
    host,
    port,
    secure: tls === 'implicit',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    ...(ca !== undefined && { tls: { ca } }),
    ...(user !== undefined && { auth: { user, pass: readSecret('"notices.smtp"', smtp) ?? '' } }),
    connectionTimeout: CONNECT_MS_MAX,
    greetingTimeout: CONNECT_MS_MAX,
    socketTimeout: SILENT_MS_MAX,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
}

/** What is sent, exactly. */
export function messageOf({ to, notice, picture }: Mail, from: string) {
  const domain = /@([^\s<>@]+)>?\s*$/.exec(from)?.[1] ?? 'sightline.invalid'
  const lines = [
    notice.text,
    notice.picture &&
      `Picture (until ${new Date(notice.picture.expiresAtMs).toISOString()}): ${notice.picture.url}`,
    notice.url !== undefined && `In the console: ${notice.url}`,
    `${new Date(notice.atMs).toISOString()} · ${notice.scenario.name} · ${notice.rule.name}`,
  ].filter((it) => typeof it === 'string' && it !== '')
  return {
    from,
    to: [...to],
    subject: notice.is === 'test' ? `Test: ${notice.title}` : notice.title,
    messageId: `<${notice.id}.${notice.revision}@${domain}>`,
    // Of one face, all under one.
    references: `<${notice.track ?? notice.id}@${domain}>`,
    inReplyTo: `<${notice.track ?? notice.id}@${domain}>`,
    headers: { 'auto-submitted': 'auto-generated', 'x-sightline-notice': `${notice.id}.${notice.revision}` },
    text: `${lines.join('\n\n')}\n`,
    html: pageOf(notice, picture !== undefined).text,
    attachments:
      picture === undefined
        ? []
        : [
            {
              filename: 'face.jpg',
              content: Buffer.from(picture),
              contentType: 'image/jpeg',
              cid: PICTURE_ID,
              contentDisposition: 'inline' as const,
            },
          ],
  }
}

function pageOf(notice: Notice, isAttached: boolean): Html {
  const { title, text, picture, url, atMs, scenario, rule } = notice
  return html`<!doctype html><html><body style="font-family: sans-serif">
<h2>${title}</h2>
<p style="white-space: pre-line">${text}</p>
${isAttached ? html`<p><img src="cid:${PICTURE_ID}" alt="The face" style="max-width: 100%"></p>` : ''}
${picture ? html`<p><a href="${picture.url}">Picture</a></p>` : ''}
${url === undefined ? '' : html`<p><a href="${url}">Open in the console</a></p>`}
<p style="color: #666">${new Date(atMs).toISOString()} · ${scenario.name} · ${rule.name}</p>
</body></html>`
}

const statusOf = (response: string) => {
  const status = Number(/^\d{3}/.exec(response)?.[0])
  return Number.isInteger(status) ? status : undefined
}

function outcomeOf(error: unknown): Outcome {
  const { code, responseCode, response, message } = error as {
    readonly code?: string
    readonly responseCode?: number
    readonly response?: string
    readonly message?: string
  }
  const final =
    responseCode !== undefined &&
    responseCode >= 500 &&
    code !== 'EAUTH' &&
    !WORTH_ANOTHER_TRY.has(responseCode)
  return {
    is: 'failed',
    final,
    ...(responseCode !== undefined && { status: responseCode }),
    ...(code !== undefined && { code }),
    ...(response !== undefined && { answer: answerText(response) }),
    why:
      response === undefined
        ? `The mail server could not be used: ${answerText(message ?? 'no reason given').slice(0, 300)}.`
        : `The mail server answered ${answerText(response).slice(0, 300)}.`,
  }
}
