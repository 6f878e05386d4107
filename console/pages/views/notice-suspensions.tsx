import { useState } from 'preact/hooks'
import { useEvery, useLoaded } from '../loaded.ts'
import type { Suspension } from '../notice-types.ts'
import * as api from '../notices.ts'
import { nowMs } from '../now.ts'
import { say } from '../parts/said.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { may } from '../session.ts'
import { cameraKey, clock, dayAndClock } from '../words.ts'
import { useScenarios } from './notice-filter.tsx'

const REFRESH_MS = 10_000
const DAY_MS = 86_400_000

/** What sends no notices for a while, and until when. */
export function NoticeSuspensions() {
  const suspensions = useLoaded('suspensions', api.suspensions)
  useEvery(REFRESH_MS, suspensions.again)
  const { names, ruleName } = useScenarios(new Map())
  const [isWorking, setWorking] = useState(false)
  async function resume(suspension: Suspension): Promise<void> {
    setWorking(true)
    try {
      await api.resume(suspension)
      say('Notices are sent again.')
      suspensions.again()
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    setWorking(false)
  }
  return (
    <Shown of={suspensions}>
      {({ items }) => {
        const current = items.filter(({ untilMs }) => untilMs > nowMs.value)
        return current.length === 0 ? (
          <Empty title="Nothing is suspended.">
            A notice that comes too often can be suspended for an hour: open it, and choose “Suspend”.
          </Empty>
        ) : (
          <ul class="cards">
            {current.map((it) => (
              <li key={`${it.scenario} ${it.rule} ${it.camera && cameraKey(it.camera)}`} class="card">
                <div class="card-text">
                  <strong>{names.get(it.scenario) ?? it.scenario}</strong>
                  {it.rule && <> · {ruleName(it.scenario, it.rule)}</>}
                  <p class="muted">
                    {it.camera ? `At ${cameraKey(it.camera)}` : 'At every camera'}, until {until(it.untilMs)},
                    by {it.by}
                  </p>
                </div>
                {may('scenarios') && (
                  <button type="button" class="button" disabled={isWorking} onClick={() => void resume(it)}>
                    Resume
                  </button>
                )}
              </li>
            ))}
          </ul>
        )
      }}
    </Shown>
  )
}

/** The hour alone where it is today's. */
export const until = (atMs: number) =>
  atMs - nowMs.value < DAY_MS && new Date(atMs).getDate() === new Date(nowMs.value).getDate()
    ? clock(atMs)
    : dayAndClock(atMs)
