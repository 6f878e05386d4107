/** What came of an attempt to deliver a notice. */
export type Outcome =
  | { readonly is: 'sent'; readonly status?: number; readonly answer?: string }
  | {
      readonly is: 'failed'
      /** Another try would end the same: the receiver does not want this notice. */
      readonly final: boolean
      readonly status?: number
      /** Of ours or of the system: `TIMEOUT`, `ECONNREFUSED`, `ADDRESS_NOT_ALLOWED`. */
      readonly code?: string
      readonly answer?: string
      /** A sentence, for people. */
      readonly why: string
      /** Not before. */
      readonly retryAfterMs?: number
    }
  /** Nothing was tried, and will not be. */
  | { readonly is: 'not sent'; readonly why: string }

/** Of an answer, what is kept. */
export const ANSWER_CHARACTERS_MAX = 2048

/** Text that a receiver answered, as it can be kept and shown. */
export const answerText = (text: string) =>
  text
    .replace(/[^\P{Cc}\n\t]/gu, '\ufffd')
    .replace(/[\u2028-\u202e\u2066-\u2069]/g, '\ufffd')
    .slice(0, ANSWER_CHARACTERS_MAX)
