import { useState } from 'preact/hooks'
import type { Notice } from '../notice-types.ts'
import * as api from '../notices.ts'
import { DialogForm } from '../parts/dialog-form.tsx'
import { say } from '../parts/said.tsx'
import { until } from './notice-suspensions.tsx'

const HOUR_S = 3600
const HOURS = [1, 4, 12, 24] as const

/** Asks what of a notice shall be still, and for how long. */
export function SuspendDialog({
  notice,
  done,
  onClose,
}: {
  readonly notice: Pick<Notice, 'scenario' | 'rule' | 'site' | 'device' | 'camera'>
  readonly done: () => void
  readonly onClose: () => void
}) {
  const { site, device, camera } = notice
  const place = site && device && camera ? `${site}/${device}/${camera}` : undefined
  const [isHere, setHere] = useState(place !== undefined)
  const [isRule, setRule] = useState(true)
  const [hours, setHours] = useState<number>(1)
  async function suspend(): Promise<void> {
    const forS = hours * HOUR_S
    await api.suspend({
      scenario: notice.scenario.id,
      ...(isRule ? { rule: notice.rule.id } : {}),
      ...(isHere && place ? { camera: place } : {}),
      forS,
    })
    say(`Suspended until ${until(Date.now() + forS * 1000)}.`)
    done()
  }
  return (
    <DialogForm title="Suspend these notices?" submit="Suspend" act={suspend} onClose={onClose}>
      <fieldset class="choices">
        <legend>What</legend>
        <label>
          <input type="radio" name="what" checked={isRule} onChange={() => setRule(true)} />
          the rule “{notice.rule.name}”
        </label>
        <label>
          <input type="radio" name="what" checked={!isRule} onChange={() => setRule(false)} />
          the whole scenario “{notice.scenario.name}”
        </label>
      </fieldset>
      {place && (
        <fieldset class="choices">
          <legend>Where</legend>
          <label>
            <input type="radio" name="where" checked={isHere} onChange={() => setHere(true)} />
            at {camera} alone
          </label>
          <label>
            <input type="radio" name="where" checked={!isHere} onChange={() => setHere(false)} />
            at every camera
          </label>
        </fieldset>
      )}
      <label class="field">
        <span>For how long</span>
        <select value={String(hours)} onChange={({ currentTarget: { value } }) => setHours(Number(value))}>
          {HOURS.map((value) => (
            <option key={value} value={String(value)}>
              {value === 1 ? 'an hour' : value === 24 ? 'a day' : `${value} hours`}
            </option>
          ))}
        </select>
      </label>
      <p class="muted">
        Nobody is told meanwhile. What would have been sent stands under “Why was nothing sent?”.
      </p>
    </DialogForm>
  )
}
