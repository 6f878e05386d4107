import { useRef } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import * as api from '../notices.ts'
import { nowMs } from '../now.ts'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { day } from '../words.ts'
import { NoticeRow } from './notice-list.tsx'

await style('notices.css')

const SHOWN_COUNT = 3
/** News of many at once are one look. */
const GATHER_MS = 1000

/** The newest of today; nothing where there was none. */
export function LatestNotices() {
  const notices = useLoaded('latest notices', (signal) =>
    may('notices')
      ? api.notices({ limit: String(SHOWN_COUNT) }, signal)
      : Promise.resolve({ items: [], next: null }),
  )
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useNews('notice', () => {
    clearTimeout(timer.current)
    timer.current = setTimeout(notices.again, GATHER_MS)
  })
  useNews('reset', notices.again)
  const today = day(nowMs.value)
  const items = (notices.value?.items ?? []).filter(({ atMs }) => day(atMs) === today)
  if (items.length === 0) return null
  return (
    <section aria-labelledby="noticed">
      <div class="section-head">
        <h2 id="noticed">Noticed today</h2>
        <a href="/notices">All notices</a>
      </div>
      <ol class="notices">
        {items.map((notice) => (
          <li key={notice.id}>
            <NoticeRow notice={notice} />
          </li>
        ))}
      </ol>
    </section>
  )
}
