import { randomUUID } from 'node:crypto'
import { z } from 'zod'

/**
 * What a broker tells another one's bridge (or an agent's clip sender) of messages that it will never take. MQTT 3.1.1 knows no refusal of a
 * message: the connection would end, the bridge would send the same message again, and everything behind it would wait
 * for ever. So a bridge asks, with a subscription to a topic that nobody else can know, and is told there:
 *
 *     bridge ── SUBSCRIBE $sightline/refused/<uuid> ──▶ broker
 *            ◀─ {"v":1,"packetBytesMax":16000000,"brokerId":"…"} what it takes at all, and who it is (broker/via.ts)
 *            ── PUBLISH, message id 7 ────────────────▶
 *            ◀─ {"v":1,"messageId":7,"code":"NOT_ALLOWED",...}  in place of PUBACK; the connection stays
 *
 * Other brokers know nothing of it, and say nothing there (with MQTT 5 they have reason codes: `mqttVersion: 5`).
 */

const PREFIX = '$sightline/refused/'
const TOPIC = /^\$sightline\/refused\/[0-9a-f-]{36}$/
const MESSAGE_CHARACTERS_MAX = 500

/** Refusals that time does not mend. */
const FINAL = new Set(['NOT_ALLOWED', 'TOPIC_INVALID', 'PAYLOAD_TOO_LARGE'])

const noticeSchema = z.union([
  z.object({
    v: z.literal(1),
    packetBytesMax: z.number().int().positive(),
    brokerId: z
      .string()
      .regex(/^[A-Za-z0-9_-]{8}$/) // broker/via.ts
      .optional(), // one from before there were ids
  }),
  z.object({
    v: z.literal(1),
    messageId: z.number().int().min(1).max(65_535),
    code: z.string().max(64),
    message: z.string().max(MESSAGE_CHARACTERS_MAX),
  }),
])

export type Notice = z.infer<typeof noticeSchema>

export const newRefusalsTopic = () => PREFIX + randomUUID()

export const isRefusalsTopic = (topic: string) => TOPIC.test(topic)

export const isFinal = ({ code }: { readonly code: string }) => FINAL.has(code)

export function encodeNotice(notice: Notice): Buffer {
  return Buffer.from(
    JSON.stringify(
      'message' in notice ? { ...notice, message: notice.message.slice(0, MESSAGE_CHARACTERS_MAX) } : notice,
    ),
  )
}

/** @returns undefined where it is none: it came from outside, and is believed no further than this. */
export function decodeNotice(payload: Buffer): Notice | undefined {
  try {
    return noticeSchema.parse(JSON.parse(payload.toString()))
  } catch {
    return undefined
  }
}
