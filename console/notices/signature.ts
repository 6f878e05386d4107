import { createHmac, randomBytes } from 'node:crypto'

/** Standard Webhooks 1.0: who has the secret knows that a message is ours, whole, and when it was sent. Pure. */

const PREFIX = 'whsec_'
const SECRET_BYTES = 32

export const newWebhookSecret = () => `${PREFIX}${randomBytes(SECRET_BYTES).toString('base64')}`

/** @param secrets one, or several with spaces between: each signs */
export function signatureHeaders(
  secrets: string,
  { id, atMs, body }: { readonly id: string; readonly atMs: number; readonly body: Uint8Array },
): Record<string, string> {
  const timestamp = String(Math.floor(atMs / 1000))
  const signatures = secrets.split(' ').map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64')
    return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')}`
  })
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}
