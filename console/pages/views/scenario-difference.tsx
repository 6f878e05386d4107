import type { ScenarioDocument } from '../scenario-types.ts'
import { differences } from './document-difference.ts'

/** Two documents, and what is different. */
export function Difference({
  before,
  now,
  words: [beforeWord, nowWord],
}: {
  readonly before: ScenarioDocument
  readonly now: ScenarioDocument
  readonly words: readonly [before: string, now: string]
}) {
  const changes = differences(before, now)
  if (changes.length === 0) return <p class="muted">Nothing is different.</p>
  return (
    <ul class="differences" aria-label="Differences">
      {changes.map(({ where, before: old, now: next }, index) => (
        <li key={index} class="difference">
          <strong class="breaks">{where.join(' › ')}</strong>
          <dl>
            <div class="difference-old">
              <dt>{beforeWord}</dt>
              <dd>{old ?? <span class="muted">not there</span>}</dd>
            </div>
            <div class="difference-new">
              <dt>{nowWord}</dt>
              <dd>{next ?? <span class="muted">not there</span>}</dd>
            </div>
          </dl>
        </li>
      ))}
    </ul>
  )
}
