import { asFailure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { NOTICE_VERSION, type Notice } from '../../wire/notice.ts'
import type { KeptNotice } from './book.ts'
import type { Channel } from './channel.ts'
import { type Mailer, messageOf } from './email.ts'
import type { Guard } from './guard.ts'
import type { Links } from './links.ts'
import type { MqttNotices } from './mqtt.ts'
import type { Outcome } from './outcome.ts'
import { type Push, payloadOf } from './push.ts'
import { type OutRequest, send } from './request.ts'
import { renderWebhook, TAKES_PICTURES } from './templates.ts'
import { withoutSecrets } from './unsaid.ts'

/** Each way on which a notice goes out, and what it takes along. */

export interface WaysParts {
  readonly guard: Guard
  readonly links: Links
  /** undefined: no mail server is configured. */
  readonly mailer: Mailer | undefined
  readonly push: Push
  readonly mqtt: MqttNotices
  /** For links to the notice's page; undefined: there are none. */
  readonly publicUrl: string | undefined
  readonly log: Log
}

/** A revision of a notice on its way. */
export interface Going {
  readonly notice: KeptNotice
  readonly revision: number
  readonly madeAtMs: number
}

export class Ways {
  readonly #parts: WaysParts

  constructor(parts: WaysParts) {
    this.#parts = parts
  }

  /** Rejects only where the signal is aborted. @param target the browser, of push */
  async send(channel: Channel, target: string, going: Going, signal: AbortSignal): Promise<Outcome> {
    const { guard, mailer, push, mqtt } = this.#parts
    try {
      switch (channel.type) {
        case 'webhook': {
          const picture = TAKES_PICTURES[channel.template]
            ? await this.#attached(channel, going.notice, signal)
            : undefined
          const notice = await this.notice(channel, going, picture !== undefined)
          const out = renderWebhook({ channel, notice, picture, nowMs: Date.now() })
          return withoutSecrets(channel, await send(guard, out, signal))
        }
        case 'email': {
          if (!mailer) return NO_MAILER
          const picture = await this.#attached(channel, going.notice, signal)
          const notice = await this.notice(channel, going, picture !== undefined)
          return await mailer.send({ to: channel.to, notice, picture })
        }
        case 'push':
          return await push.send(await this.notice(channel, going, false), target, signal)
        case 'mqtt':
          return await mqtt.send(channel, await this.notice(channel, going, false))
      }
    } catch (error) {
      if (signal.aborted) throw error
      // The bucket or the database does not answer, or the channel lacks what its service needs.
      const { code, message } = asFailure(error)
      return { is: 'failed', final: code === 'PARAMETER_INVALID', code, why: message }
    }
  }

  /** What the receiver would get; the channel's secrets are masked by whoever shows it. Errors: PARAMETER_INVALID */
  async preview(channel: Channel, going: Going): Promise<Preview> {
    const picture = channel.picture === 'attached' ? Buffer.from('(the picture, a JPEG)') : undefined
    const isTaken = channel.type !== 'webhook' || TAKES_PICTURES[channel.template]
    const notice = await this.notice(channel, going, picture !== undefined && isTaken)
    switch (channel.type) {
      case 'webhook': {
        const out = renderWebhook({
          channel,
          notice,
          picture: isTaken ? picture : undefined,
          nowMs: going.madeAtMs,
        })
        return previewOf(out)
      }
      case 'email': {
        const { html, ...mail } = messageOf({ to: channel.to, notice, picture }, 'the console')
        return {
          method: 'SMTP',
          url: `mailto:${channel.to.join(',')}`,
          headers: { subject: mail.subject, 'message-id': mail.messageId, references: mail.references },
          body: mail.text,
        }
      }
      case 'push':
        return {
          method: 'POST',
          url: 'the push service of each browser',
          headers: {},
          body: payloadOf(notice),
        }
      case 'mqtt':
        return {
          method: 'PUBLISH',
          url: this.#parts.mqtt.topic(notice),
          headers: { qos: '1', retain: String(channel.retain) },
          body: JSON.stringify(notice),
        }
    }
  }

  /** With the addresses that this channel gets. */
  async notice(
    channel: Channel,
    { notice: kept, revision, madeAtMs }: Going,
    hasPicture: boolean,
  ): Promise<Notice> {
    const { links, publicUrl } = this.#parts
    const { object, ...rest } = kept
    const isLinked = channel.picture !== 'none'
    const link =
      isLinked && !hasPicture && kept.detection !== undefined ? await links.of(kept.detection) : undefined
    const objectLink = isLinked && object ? await links.of(object.id, object.key) : undefined
    return {
      v: NOTICE_VERSION,
      ...rest,
      is: kept.is === 'test' ? 'test' : revision === 0 ? 'new' : kept.is === 'new' ? 'updated' : kept.is,
      revision,
      madeAtMs,
      ...(link && { picture: link }),
      ...(object && { object: { ...object, ...objectLink } }),
      ...(publicUrl !== undefined && { url: `${publicUrl.replace(/\/+$/, '')}/notices/${kept.id}` }),
    }
  }

  /** A picture that cannot be had now does not hold the notice back: it goes with a link. */
  async #attached(
    channel: Channel,
    { detection }: KeptNotice,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    const { links, log } = this.#parts
    if (channel.picture !== 'attached' || detection === undefined) return undefined
    try {
      return await links.picture(detection, AbortSignal.any([signal, AbortSignal.timeout(PICTURE_MS_MAX)]))
    } catch (error) {
      if (signal.aborted) throw error
      const { code, message } = asFailure(error)
      log.warn({ code, detection }, `a notice goes out without its picture: ${message}`)
      return undefined
    }
  }
}

const PICTURE_MS_MAX = 5_000
const NO_MAILER: Outcome = {
  is: 'failed',
  final: false,
  code: 'NO_MAIL_SERVER',
  why: 'No mail server is configured: "notices.smtp" in the console\'s configuration.',
}

export interface Preview {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const previewOf = ({ method, url, headers, body }: OutRequest): Preview => ({
  method,
  url,
  headers,
  body: Buffer.from(body).toString('utf8'),
})
