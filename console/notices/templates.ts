import { failure } from '../../lib/errors.ts'
import { multipart } from '../../lib/http/multipart.ts'
import type { Notice } from '../../wire/notice.ts'
import type { Channel, WebhookTemplate } from './channel.ts'
import type { OutRequest } from './request.ts'
import { signatureHeaders } from './signature.ts'

/**
 * A notice as a service wants it. Names of cameras, zones and rules, and what operators write, are text there and nothing
 * else: no markup, no mention, no link that we did not make. Pure.
 */

export type Webhook = Extract<Channel, { type: 'webhook' }>

export interface ToRender {
  readonly channel: Webhook
  readonly notice: Notice
  /** JPEG, where one is attached. */
  readonly picture: Uint8Array | undefined
  readonly nowMs: number
}

const FILE_NAME = 'face.jpg'
const JPEG = 'image/jpeg'
/** Limits of the services, characters. */
const TELEGRAM_CAPTION_MAX = 1024
const TELEGRAM_TEXT_MAX = 4096
const DISCORD_TITLE_MAX = 256
const SLACK_TEXT_MAX = 3000
const COLORS = { info: 0x3b82f6, warning: 0xf59e0b, problem: 0xdc2626 }

/** Errors: PARAMETER_INVALID, where the channel lacks what its service needs. */
export const renderWebhook = (it: ToRender): OutRequest => RENDER[it.channel.template](it)

const RENDER: Readonly<Record<WebhookTemplate, (it: ToRender) => OutRequest>> = {
  sightline: ({ channel, notice, nowMs }) => {
    const body = Buffer.from(JSON.stringify(notice))
    const id = `${notice.id}.${notice.revision}`
    return {
      method: 'POST',
      url: channel.url,
      headers: {
        'content-type': 'application/json',
        ...(channel.secret === undefined
          ? { 'webhook-id': id }
          : signatureHeaders(channel.secret, { id, atMs: nowMs, body })),
      },
      body,
    }
  },

  ntfy: ({ channel, notice, picture }) => {
    const topic = needed(channel.topic, 'topic', 'ntfy')
    const priority = { info: 3, warning: 4, problem: 5 }[notice.level]
    const authorization = channel.token === undefined ? undefined : `Bearer ${channel.token}`
    if (picture === undefined)
      return json(
        channel.url,
        {
          topic,
          title: notice.title,
          message: notice.text || notice.title,
          priority,
          ...(notice.url !== undefined && { click: notice.url }),
          ...(notice.picture && { attach: notice.picture.url, filename: FILE_NAME }),
        },
        { authorization },
      )
    return {
      method: 'PUT',
      url: below(channel.url, encodeURIComponent(topic)),
      headers: headers({
        title: encodedWord(notice.title),
        message: encodedWord(notice.text || notice.title),
        priority: String(priority),
        filename: FILE_NAME,
        click: notice.url,
        authorization,
        'content-type': JPEG,
      }),
      body: picture,
    }
  },

  gotify: ({ channel, notice }) =>
    json(
      below(channel.url, 'message'),
      {
        title: notice.title,
        message: notice.text || notice.title,
        priority: { info: 4, warning: 6, problem: 9 }[notice.level],
        extras: {
          'client::display': { contentType: 'text/plain' },
          'client::notification': {
            ...(notice.url !== undefined && { click: { url: notice.url } }),
            ...(notice.picture && { bigImageUrl: notice.picture.url }),
          },
        },
      },
      { 'x-gotify-key': needed(channel.token, 'token', 'Gotify') },
    ),

  slack: ({ channel, notice }) => {
    const links = [
      notice.picture && `<${notice.picture.url}|Picture>`,
      notice.url !== undefined && `<${notice.url}|Open>`,
    ].filter((it) => typeof it === 'string')
    const plain = (text: string) => ({
      type: 'section',
      text: { type: 'plain_text', text: text.slice(0, SLACK_TEXT_MAX), emoji: false },
    })
    return json(channel.url, {
      // Of the notification; the blocks are what is shown.
      text: slackText(notice.title),
      unfurl_links: false,
      blocks: [
        plain(notice.title || ' '),
        ...(notice.text === '' ? [] : [plain(notice.text)]),
        ...(links.length === 0
          ? []
          : [{ type: 'section', text: { type: 'mrkdwn', text: links.join('  ') } }]),
      ],
    })
  },

  discord: ({ channel, notice, picture }) => {
    const payload = {
      allowed_mentions: { parse: [] },
      embeds: [
        {
          title: markdownText(notice.title).slice(0, DISCORD_TITLE_MAX),
          description: markdownText(notice.text),
          color: COLORS[notice.level],
          timestamp: new Date(notice.atMs).toISOString(),
          ...(notice.url !== undefined && { url: notice.url }),
          ...(picture !== undefined
            ? { image: { url: `attachment://${FILE_NAME}` } }
            : notice.picture && { image: { url: notice.picture.url } }),
        },
      ],
    }
    if (picture === undefined) return json(channel.url, payload)
    const { type, body } = multipart([
      { name: 'payload_json', type: 'application/json', content: JSON.stringify(payload) },
      { name: 'files[0]', filename: FILE_NAME, type: JPEG, content: picture },
    ])
    return { method: 'POST', url: channel.url, headers: { 'content-type': type }, body }
  },

  // Without a parse_mode, text is text.
  telegram: ({ channel, notice, picture }) => {
    const bot = `bot${needed(channel.token, 'token', 'Telegram')}`
    const chat = needed(channel.chat, 'chat', 'Telegram')
    const links = [picture === undefined ? notice.picture?.url : undefined, notice.url].filter(
      (it) => it !== undefined,
    )
    const text = (max: number) =>
      cut(
        [notice.title, notice.text].filter((it) => it !== '').join('\n'),
        max - links.join('\n').length - 1,
      ) + links.map((it) => `\n${it}`).join('')
    if (picture === undefined)
      return json(below(channel.url, `${bot}/sendMessage`), {
        chat_id: chat,
        text: text(TELEGRAM_TEXT_MAX),
        link_preview_options: { is_disabled: notice.picture === undefined },
      })
    const { type, body } = multipart([
      { name: 'chat_id', content: chat },
      { name: 'caption', content: text(TELEGRAM_CAPTION_MAX) },
      { name: 'photo', filename: FILE_NAME, type: JPEG, content: picture },
    ])
    return {
      method: 'POST',
      url: below(channel.url, `${bot}/sendPhoto`),
      headers: { 'content-type': type },
      body,
    }
  },
}

/** Whether the service takes a picture along; otherwise it gets a link. */
export const TAKES_PICTURES: Readonly<Record<WebhookTemplate, boolean>> = {
  sightline: false,
  ntfy: true,
  gotify: false,
  slack: false,
  discord: true,
  telegram: true,
}

const json = (
  url: string,
  content: unknown,
  more: Readonly<Record<string, string | undefined>> = {},
): OutRequest => ({
  method: 'POST',
  url,
  headers: headers({ 'content-type': 'application/json', ...more }),
  body: Buffer.from(JSON.stringify(content)),
})

const headers = (all: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(Object.entries(all).filter((it): it is [string, string] => it[1] !== undefined))

function needed(value: string | undefined, name: string, service: string): string {
  if (value === undefined) throw failure('PARAMETER_INVALID', `${service} needs a "${name}".`)
  return value
}

/** An address below one that may have a path, and a query that stays. */
function below(address: string, path: string): string {
  const url = new URL(address)
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`
  return url.href
}

/** RFC 2047: a header is ASCII on one line, whatever the text. */
const encodedWord = (text: string) => `=?UTF-8?B?${Buffer.from(text).toString('base64')}?=`

const slackText = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** Discord's Markdown: each mark as itself; and no address becomes a link. */
const markdownText = (text: string) =>
  text.replace(/[\\`*_~|<>[\]()#@:\-+]/g, (mark) => `\\${mark}`).replace(/\bhttps?\\:/gi, '$&\u200b')

/** By whole characters. */
const cut = (text: string, max: number) => ([...text].length > max ? [...text].slice(0, max).join('') : text)
