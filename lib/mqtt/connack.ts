/** Why a broker does not let a client in, as a clause: CONNACK of MQTT 3.1.1 (3.2.2.3) and of MQTT 5 (3.2.2.2). */

export interface Refusal {
  readonly why: string
  /** It passes by itself: the same client may be let in later. */
  readonly passes: boolean
}

const VERSION = 'it does not support this version of MQTT'
const CLIENT_ID = 'it rejects this client id. Give each client its own id'
const PASSWORD = 'the user name or the password is wrong'
const NOT_ALLOWED =
  'this user is not allowed to connect. Check user name, password and the broker’s access rules'
const BUSY = 'it is not available'

const V3: Readonly<Record<number, string>> = {
  1: VERSION,
  2: CLIENT_ID,
  3: BUSY,
  4: PASSWORD,
  5: NOT_ALLOWED,
}
const V5: Readonly<Record<number, string>> = {
  1: 'it supports MQTT 3.1.1 only. Set "mqttVersion" to 4', // the code of MQTT 3.1.1, from a broker that knows no other
  132: VERSION,
  133: CLIENT_ID,
  134: PASSWORD,
  135: NOT_ALLOWED,
  136: BUSY,
  137: 'it is busy',
  138: 'this client is banned',
  159: 'there were too many connections in a short time',
}
const PASSING: ReadonlySet<number> = new Set([3, 136, 137, 159])

/** @param code of CONNACK, not 0 */
export const connackRefusal = (protocol: 4 | 5, code: number): Refusal => ({
  why: (protocol === 5 ? V5 : V3)[code] ?? `it refuses with code ${code}`,
  passes: PASSING.has(code),
})
