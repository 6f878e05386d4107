// biome-ignore-all lint/a11y/noNoninteractiveElementToInteractiveRole: a table whose cells are chosen is a grid
import { useRef, useState } from 'preact/hooks'
import { DAY_WORDS, DAYS, painted, shareOf, type Week } from './schedule-hours.ts'

/** The week as a table of hours, which are painted by dragging, or switched by key. */

const HOURS = Array.from({ length: 24 }, (_, hour) => hour)

export function ScheduleGrid({
  week,
  change,
}: {
  readonly week: Week
  readonly change: (week: Week) => void
}) {
  const [focused, setFocused] = useState<readonly [day: number, hour: number]>([0, 8])
  const table = useRef<HTMLTableElement>(null)
  /** While it is dragged: from which cell, whether on or off, and the week as it was. */
  const drag = useRef<{ day: number; hour: number; isOn: boolean; before: Week } | undefined>(undefined)
  const isOn = (day: number, hour: number) => shareOf(week, day, hour) > 0

  const cellAt = (event: PointerEvent): readonly [number, number] | undefined => {
    const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>('[data-hour]')
    if (!cell || !table.current?.contains(cell)) return undefined
    return [Number(cell.dataset.day), Number(cell.dataset.hour)]
  }
  const paintTo = (day: number, hour: number) => {
    const held = drag.current
    if (!held) return
    const [top, bottom] = [Math.min(held.day, day), Math.max(held.day, day)]
    const [left, right] = [Math.min(held.hour, hour), Math.max(held.hour, hour)]
    let next = held.before
    for (let row = top; row <= bottom; row += 1)
      next = painted(next, row, left * 60, right * 60 + 60, held.isOn)
    change(next)
  }
  const toggle = (day: number, fromHour: number, toHour: number) =>
    change(painted(week, day, fromHour * 60, toHour * 60 + 60, !isOn(day, fromHour)))
  const onKeyDown = (event: KeyboardEvent) => {
    const [day, hour] = focused
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key]
    if (event.key === ' ' || event.key === 'Enter') toggle(day, hour, hour)
    else if (event.key === 'Home') focus(day, 0)
    else if (event.key === 'End') focus(day, 23)
    else if (by) {
      const to = [
        Math.min(6, Math.max(0, day + (by[0] ?? 0))),
        Math.min(23, Math.max(0, hour + (by[1] ?? 0))),
      ]
      // With Shift it paints on the way.
      if (event.shiftKey)
        change(painted(week, to[0] ?? 0, (to[1] ?? 0) * 60, (to[1] ?? 0) * 60 + 60, isOn(day, hour)))
      focus(to[0] ?? 0, to[1] ?? 0)
    } else return
    event.preventDefault()
  }
  const focus = (day: number, hour: number) => {
    setFocused([day, hour])
    table.current?.querySelector<HTMLElement>(`[data-day="${day}"][data-hour="${hour}"]`)?.focus()
  }
  return (
    <div class="week-frame">
      <table
        ref={table}
        class="week"
        role="grid"
        aria-label="Hours of the week. Space switches an hour, Shift and an arrow key paint."
        onKeyDown={onKeyDown}
        onPointerDown={(event) => {
          const cell = event.button === 0 ? cellAt(event) : undefined
          if (!cell) return
          const [day, hour] = cell
          drag.current = { day, hour, isOn: !isOn(day, hour), before: week }
          table.current?.setPointerCapture(event.pointerId)
          setFocused(cell)
          paintTo(day, hour)
        }}
        onPointerMove={(event) => {
          if (!drag.current) return
          const cell = cellAt(event)
          if (cell) paintTo(...cell)
        }}
        onPointerUp={() => {
          drag.current = undefined
        }}
        onPointerCancel={() => {
          // The page scrolls instead.
          if (drag.current) change(drag.current.before)
          drag.current = undefined
        }}
      >
        <thead>
          <tr>
            <td />
            {HOURS.filter((hour) => hour % 3 === 0).map((hour) => (
              <th key={hour} scope="colgroup" colSpan={3}>
                {hour}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {DAYS.map((day, row) => (
            <tr key={day}>
              <th scope="row">
                <abbr title={DAY_WORDS[day]}>{DAY_WORDS[day].slice(0, 2)}</abbr>
              </th>
              {HOURS.map((hour) => {
                const share = shareOf(week, row, hour)
                return (
                  <td
                    key={hour}
                    class="week-hour"
                    role="gridcell"
                    data-day={row}
                    data-hour={hour}
                    data-part={share === 0 ? undefined : share < 1 ? 'some' : 'all'}
                    tabIndex={focused[0] === row && focused[1] === hour ? 0 : -1}
                    aria-selected={share > 0}
                    aria-label={`${DAY_WORDS[day]} ${hour} to ${hour + 1}${share > 0 && share < 1 ? ', a part of it' : ''}`}
                    onFocus={() => setFocused([row, hour])}
                  />
                )
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
