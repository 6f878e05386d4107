import type { Delivery, DeliveryState } from '../notice-types.ts'
import { nowMs } from '../now.ts'
import { ago, count, number } from '../words.ts'
import { When } from './when.tsx'

/** How a notice's ways to people stand, in words. */

const TONES = {
  sent: 'good',
  waiting: 'late',
  'given up': 'bad',
  'not sent': 'quiet',
} as const satisfies Record<DeliveryState, string>

export function DeliveryIs({ delivery }: { readonly delivery: Delivery }) {
  return (
    <span class="tone tone-wraps" data-tone={TONES[delivery.state]}>
      <span class="dot" />
      <span>
        <Words delivery={delivery} />
      </span>
    </span>
  )
}

function Words({ delivery: { state, attempts, dueAtMs, doneAtMs, why } }: { readonly delivery: Delivery }) {
  switch (state) {
    case 'sent':
      return <>Sent {doneAtMs !== null && <When atMs={doneAtMs} />}</>
    case 'waiting':
      if (attempts === 0) return <>Waiting to be sent</>
      return (
        <>
          Failed {count(attempts, 'time')}, next try{' '}
          {dueAtMs <= nowMs.value ? 'now' : ago(dueAtMs, nowMs.value)}
        </>
      )
    case 'given up':
      return (
        <>
          Given up after {count(attempts, 'attempt')}
          {why && `: ${why}`}
        </>
      )
    default:
      return <>Not sent{why && `: ${why}`}</>
  }
}

/** All of a notice's deliveries in one line: what is wrong goes first. */
export function DeliveriesAre({ deliveries }: { readonly deliveries: readonly Delivery[] }) {
  const newest = newestOfEach(deliveries)
  const of = (state: DeliveryState) => newest.filter((it) => it.state === state)
  const [failing] = of('waiting').filter(({ attempts }) => attempts > 0)
  const [gone] = of('given up')
  const said: readonly (readonly [DeliveryState, string])[] = [
    ['given up', gone ? `${gone.channel.name}: given up` : ''],
    [
      'waiting',
      failing ? `${failing.channel.name}: failing, next try ${next(failing)}` : waits(of('waiting')),
    ],
    ['not sent', of('not sent')[0] ? `${of('not sent')[0]?.channel.name}: not sent` : ''],
    ['sent', of('sent').length === 0 ? '' : sentBy(of('sent'))],
  ]
  if (newest.length === 0) return <span class="muted">Shown here only: its rule names no channel</span>
  return (
    <span class="delivered">
      {said
        .filter(([, words]) => words !== '')
        .map(([state, words]) => (
          <span key={state} class="tone tone-wraps" data-tone={TONES[state]}>
            <span class="dot" />
            <span>{words}</span>
          </span>
        ))}
    </span>
  )
}

const next = ({ dueAtMs }: Delivery) => (dueAtMs <= nowMs.value ? 'now' : ago(dueAtMs, nowMs.value))
const waits = (waiting: readonly Delivery[]) =>
  waiting.length === 0 ? '' : `Waiting for ${namesOf(waiting)}`
const sentBy = (sent: readonly Delivery[]) => `Sent by ${namesOf(sent)}`

const NAMES_MAX = 3
function namesOf(deliveries: readonly Delivery[]): string {
  const names = [...new Set(deliveries.map(({ channel }) => channel.name))]
  const more = names.length - NAMES_MAX
  return more > 0 ? `${names.slice(0, NAMES_MAX).join(', ')} and ${number(more)} more` : names.join(', ')
}

/** Of each way the newest revision alone: what came before it is history. */
function newestOfEach(deliveries: readonly Delivery[]): readonly Delivery[] {
  const newest = new Map<string, Delivery>()
  for (const delivery of deliveries) {
    const way = `${delivery.channel.id} ${delivery.target ?? ''}`
    if ((newest.get(way)?.revision ?? -1) <= delivery.revision) newest.set(way, delivery)
  }
  return [...newest.values()]
}
