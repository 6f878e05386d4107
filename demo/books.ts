import type { QueueReadings, Readings } from './readings.ts'

/** The sum at the end: every keeper's books, and whether each hands over what the one before let go. */
export interface Audit {
  readonly lines: readonly string[]
  /** What does not add up; empty where everything does. */
  readonly faults: readonly string[]
}

export interface Bucket {
  /** Its folder. */
  readonly path: string
  /** Objects that were there at the start, and that it has gained. */
  readonly before: number
  readonly gained: number
}

/** Why fewer crops are made than faces detected, by `emit.mode`. */
export type Choice = 'every' | 'best'
const WHY_FEWER: Readonly<Record<Choice, string>> = {
  every: 'counted again in each picture; emit.rateMax limits the crops',
  best: 'counted again in each picture; only the best one becomes a crop',
}

/**
 * @param start what the programs said when they were ready (a kept --data folder has books of earlier runs)
 * @param choice which of the detected faces become crops
 */
export function audit(start: Readings, end: Readings, bucket: Bucket, choice: Choice): Audit {
  const faults: string[] = []
  const objects = bucket.gained
  const since = (select: (readings: Readings) => number) => select(end) - select(start)
  const made = since(({ made }) => made)
  const published = since(({ published }) => published)
  const dropped = since(({ droppedByAgent }) => droppedByAgent)
  if (made !== published + end.waiting + dropped)
    faults.push(
      `agent: made ${made} is not published ${published} + waiting ${end.waiting} + dropped ${dropped}`,
    )
  const detected = since((readings) => readings.detected)
  const lines = [
    `faces          detected ${detected}, crops made ${made}`,
    ...(detected > made ? [`               ${WHY_FEWER[choice]}`] : []),
    `agent          made ${made} = published ${published} + waiting ${end.waiting} + dropped ${dropped}`,
    keeper('edge broker', ({ edge }) => edge),
    keeper('cloud broker', ({ cloud }) => cloud),
    keeper('subscriber', ({ inbox }) => inbox),
    `bucket         ${objects} new objects${bucket.before > 0 ? `, plus ${bucket.before} from before` : ''}`,
    `               in the folder ${bucket.path}`,
  ]
  const edge = since((readings) => readings.edge.accepted)
  const cloud = since((readings) => readings.cloud.accepted)
  const cloudForwarded = since((readings) => readings.cloud.forwarded)
  const inbox = since((readings) => readings.inbox.accepted)
  const duplicates = since((readings) => readings.duplicates)
  const quarantined = since((readings) => readings.quarantined)
  // A hand-over that was interrupted is repeated: the next keeper may count a crop twice, never less than once.
  if (edge < published)
    faults.push(`the edge broker accepted ${edge}, fewer than the ${published} that the agent published`)
  // Of what the edge forwards crops are a part: those that are published and do not wait there.
  const crossed = published - end.edge.pending - (end.edge.dropped - start.edge.dropped)
  if (cloud < crossed)
    faults.push(`the cloud broker accepted ${cloud}, fewer than the ${crossed} that the edge forwarded`)
  if (inbox + duplicates + quarantined < cloudForwarded)
    faults.push(
      `the subscriber accounts for ${inbox + duplicates + quarantined}, fewer than the ${cloudForwarded} that the cloud forwarded`,
    )
  const { clips } = end
  if (clips.made > 0) {
    const chunks = clips.made - start.clips.made
    lines.push(`recordings     ${chunks} chunks made, ${clips.stored - start.clips.stored} new in the bucket`)
    for (const [name, select] of [
      ['outbox', ({ clips }: Readings) => clips.outbox],
      ['edge, clips', ({ clips }: Readings) => clips.edge],
      ['cloud, clips', ({ clips }: Readings) => clips.cloud],
      ['inbox, clips', ({ clips }: Readings) => clips.inbox],
    ] as const)
      lines.push(keeper(name, select))
    const onTheWay = clips.outbox.pending + clips.edge.pending + clips.cloud.pending + clips.inbox.pending
    if (onTheWay > 0) faults.push(`${onTheWay} chunks of recordings are still on their way`)
  }
  const still = end.edge.pending + end.cloud.pending + end.inbox.pending
  if (still > 0) faults.push(`${still} crops are still on their way`)
  else if (
    start.edge.pending + start.cloud.pending + start.inbox.pending === 0 &&
    objects !== published - quarantined
  ) {
    faults.push(`the bucket gained ${objects} objects for ${published} published crops`)
  }
  return { lines, faults }

  function keeper(name: string, select: (readings: Readings) => QueueReadings): string {
    const { accepted, forwarded, pending, dropped } = select(end)
    if (accepted !== forwarded + pending + dropped)
      faults.push(
        `${name}: accepted ${accepted} is not forwarded ${forwarded} + pending ${pending} + dropped ${dropped}`,
      )
    const before = select(start)
    if (dropped > before.dropped) faults.push(`${name}: dropped ${dropped - before.dropped}`)
    // Of this run: a kept folder's books go on where they were.
    const had = before.pending > 0 ? `had ${before.pending} + ` : ''
    return `${name.padEnd(14)} ${had}accepted ${accepted - before.accepted} = forwarded ${forwarded - before.forwarded} + pending ${pending} + dropped ${dropped - before.dropped}`
  }
}
