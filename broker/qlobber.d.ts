// qlobber ships no types. This is the part that aedes' own persistence uses, and ours.
declare module 'qlobber/aedes/qlobber-sub.js' {
  export interface SubscriptionMatch {
    readonly clientId: string
    readonly topic: string
    readonly qos: 0 | 1 | 2
    readonly rh?: number
    readonly rap?: boolean
    readonly nl?: boolean
  }
  export default class QlobberSub {
    readonly subscriptionsCount: number
    constructor(options: {
      wildcard_one: string
      wildcard_some: string
      separator: string
      match_empty_levels?: boolean
      max_words?: number
    })
    add(filter: string, subscription: SubscriptionMatch): void
    remove(filter: string, subscription: { clientId: string; topic: string }): void
    match(topic: string): SubscriptionMatch[]
  }
}

declare module 'qlobber' {
  export class QlobberTrue {
    constructor(options: {
      wildcard_one: string
      wildcard_some: string
      separator: string
      match_empty_levels?: boolean
      max_words?: number
    })
    add(filter: string): void
    test(topic: string): boolean
  }
}

// The suite that every aedes persistence must pass; plain JavaScript in the package.
declare module 'aedes-persistence/abstract.js' {
  const abstract: (options: {
    test: unknown
    persistence: () => unknown
    testAsync?: boolean
    buildEmitter?: () => unknown
  }) => void
  export default abstract
}
