/** One thing that is done to programs of ours, and the proof that they keep their promise all the same. */
export interface Trial {
  readonly name: string
  /** What is done, in a few words. */
  readonly what: string
  /** It measures how long others wait: no other trial runs beside it. */
  readonly alone?: boolean
  run(options: TrialOptions): Promise<Verdict>
}

export interface TrialOptions {
  /** For CI: seconds, not minutes. */
  readonly short: boolean
  /** Seeded: the same faults at the same moments, as far as a machine can. */
  readonly random: () => number
}

export interface Verdict {
  /** What was not as promised, in sentences; none where all is well. */
  readonly faults: readonly string[]
  /** How much was tried, with its numbers: `10000 acknowledged, 312 sent again`. */
  readonly said: string
  /** Crops that were acknowledged and found in the bucket again, whole and once. */
  readonly crops?: number
  /** Chunks of recordings, likewise. */
  readonly clips?: number
  /** Why it could not be tried here (a server that is not set, a right that is missing). */
  readonly leftOut?: string
}
