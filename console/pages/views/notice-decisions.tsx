import { useEffect, useState } from 'preact/hooks'
import { useEvery } from '../loaded.ts'
import type { Decision, DecisionsQuery } from '../notice-types.ts'
import * as api from '../notices.ts'
import { nowMs } from '../now.ts'
import { Empty, Failed, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { ask, place } from '../router.ts'
import { may } from '../session.ts'
import { cameraKey, number } from '../words.ts'
import { Choice, NoticeFilter, useScenarios } from './notice-filter.tsx'
import { until } from './notice-suspensions.tsx'

const REFRESH_MS = 5000
/** While no more than a page is shown it is kept up to date. */
const PAGE_SHOWN = 100

/** By what a rule decided: in a word, and whether somebody was told. */
const WORDS: Readonly<Record<string, readonly [words: string, tone: 'good' | 'late' | 'bad' | 'quiet']>> = {
  sent: ['Sent', 'good'],
  updated: ['Updated', 'good'],
  cooldown: ['In cooldown', 'late'],
  'quiet hours': ['Quiet hours', 'late'],
  suspended: ['Suspended', 'late'],
  'outside schedule': ['Outside the schedule', 'quiet'],
  holding: ['Not long enough yet', 'quiet'],
  'no channel': ['No channel', 'bad'],
  'rule error': ['The rule failed', 'bad'],
  'too many': ['Too many', 'bad'],
  'too late': ['Too late', 'bad'],
}

/** Why a rule that held sent nothing. */
export function NoticeDecisions() {
  const { query } = place.value
  const filter = {
    scenario: query.get('scenario') ?? undefined,
    rule: query.get('rule') ?? undefined,
    camera: query.get('camera') ?? undefined,
  }
  return <Decisions key={JSON.stringify(filter)} filter={filter} />
}

function Decisions({ filter }: { readonly filter: DecisionsQuery }) {
  const [items, setItems] = useState<readonly Decision[] | undefined>(undefined)
  const [next, setNext] = useState<string | null>(null)
  const [error, setError] = useState<unknown>(undefined)
  const [round, setRound] = useState(0)
  const [isLoading, setLoading] = useState(false)
  useEffect(() => {
    const controller = new AbortController()
    api.decisions(filter, controller.signal).then(
      (page) => {
        if (controller.signal.aborted) return
        setItems(page.items)
        setNext(page.next)
        setError(undefined)
      },
      (problem: unknown) => {
        if (!controller.signal.aborted) setError(problem)
      },
    )
    return () => controller.abort()
  }, [round])
  const again = () => setRound((count) => count + 1)
  // Whoever reads further down is not thrown back to the top.
  const isFirst = next === null || (items?.length ?? 0) <= PAGE_SHOWN
  useEvery(REFRESH_MS, () => {
    if (isFirst) again()
  })
  const { names, rulesOf, ruleName } = useScenarios(
    new Map((items ?? []).map((it) => [it.scenario, it.scenario])),
  )
  const rules = rulesOf(filter.scenario)

  async function more(): Promise<void> {
    if (next === null) return
    setLoading(true)
    try {
      const page = await api.decisions({ ...filter, cursor: next })
      setItems((old) => [...(old ?? []), ...page.items])
      setNext(page.next)
    } catch (problem) {
      setError(problem)
    }
    setLoading(false)
  }

  return (
    <>
      <NoticeFilter scenarios={names}>
        {filter.scenario !== undefined && rules.size > 0 && (
          <Choice
            label="Rule"
            value={filter.rule ?? ''}
            options={[...rules]}
            all="All rules"
            choose={(rule) => ask({ rule })}
          />
        )}
      </NoticeFilter>
      {error !== undefined && <Failed error={error} again={again} />}
      {items === undefined && error === undefined && <Waiting rows={6} />}
      {items?.length === 0 && (
        <Empty title="No rule has decided anything yet.">
          When what a rule looks for is seen and no notice is sent, the reason stands here. If nothing stands
          here, it was not seen:{' '}
          {may('scenarios') ? (
            <>
              try the <a href="/scenarios">scenario</a> on the last day.
            </>
          ) : (
            'ask an operator to try the scenario.'
          )}
        </Empty>
      )}
      <ol class="decisions">
        {items?.map((it) => {
          const [words, tone] = WORDS[it.what] ?? [it.what, 'quiet']
          return (
            <li key={it.id} class="decision">
              <span class="tone" data-tone={tone}>
                <span class="dot" />
                {words}
              </span>
              <div class="decision-text">
                <p>
                  {it.text}
                  {it.untilMs !== null && it.untilMs > nowMs.value && (
                    <strong class="nowrap"> Until {until(it.untilMs)}.</strong>
                  )}
                </p>
                <p class="muted">
                  {names.get(it.scenario) ?? it.scenario} · {ruleName(it.scenario, it.rule)}
                  {it.camera !== null && ` · ${cameraKey(it.camera)}`}
                  {it.times > 1 && ` · ${number(it.times)} times within a minute`}
                </p>
              </div>
              <When atMs={it.atMs} />
            </li>
          )
        })}
      </ol>
      {next !== null && (
        <p class="end">
          <button type="button" class="button" disabled={isLoading} onClick={() => void more()}>
            {isLoading ? 'Loading …' : 'Show older decisions'}
          </button>
        </p>
      )}
    </>
  )
}
