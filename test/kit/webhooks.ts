import { createHmac } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Notice, noticeSchema } from '../../wire/notice.ts'
import type { Test } from './programs.ts'

/** Who receives webhooks, as people build them: checks signatures (Standard Webhooks), and keeps what comes. */

export interface Webhook {
  /** Of the connection's end, by the clock of this machine. */
  readonly atMs: number
  /** `webhook-id`: by it a receiver drops a second one. */
  readonly id: string
  readonly notice: Notice
  readonly isSigned: boolean
}

export class WebhookReceiver {
  readonly url: string
  readonly received: Webhook[] = []
  /** Of the channel; without it nothing is signed. */
  secret: string | undefined
  /** Each is answered by it, once it was kept. */
  answer: (response: ServerResponse, webhook: Webhook) => void = (response) =>
    void response.writeHead(204).end()

  private constructor(port: number) {
    this.url = `http://127.0.0.1:${port}/hook`
  }

  static async open(t: Test): Promise<WebhookReceiver> {
    let receiver: WebhookReceiver | undefined
    const server = createServer(async (request, response) => {
      const webhook = await receiver?.receive(request)
      if (webhook) receiver?.answer(response, webhook)
    })
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    receiver = new WebhookReceiver((server.address() as AddressInfo).port)
    return receiver
  }

  private async receive(request: IncomingMessage): Promise<Webhook> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const atMs = performance.timeOrigin + performance.now()
    const body = Buffer.concat(chunks).toString()
    const of = (name: string) => String(request.headers[name] ?? '')
    const webhook = {
      atMs,
      id: of('webhook-id'),
      notice: noticeSchema.parse(JSON.parse(body)),
      isSigned: this.#isSigned(
        `${of('webhook-id')}.${of('webhook-timestamp')}.${body}`,
        of('webhook-signature'),
      ),
    }
    this.received.push(webhook)
    return webhook
  }

  #isSigned(text: string, signatures: string): boolean {
    if (this.secret === undefined) return false
    const key = Buffer.from(this.secret.replace(/^whsec_/, ''), 'base64')
    const expected = `v1,${createHmac('sha256', key).update(text).digest('base64')}`
    return signatures.split(' ').includes(expected)
  }
}
