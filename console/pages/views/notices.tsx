import { ask, place } from '../router.ts'
import { style } from '../styles.ts'
import { NoticeDecisions } from './notice-decisions.tsx'
import { NoticeList } from './notice-list.tsx'
import { NoticeSuspensions } from './notice-suspensions.tsx'

await style('notices.css')

/** What was noticed, and who has heard of it; why nothing was sent; and what is suspended. */

const TABS = [
  ['', 'Notices'],
  ['decisions', 'Why was nothing sent?'],
  ['suspended', 'Suspended'],
] as const

export default function NoticesPage() {
  const shown = place.value.query.get('show') ?? ''
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Notices</h1>
          <p class="page-sub">What your scenarios have noticed, newest first, and who was told.</p>
        </div>
        <fieldset class="switch">
          <legend class="visually-hidden">Show</legend>
          {TABS.map(([value, title]) => (
            <button
              key={value}
              type="button"
              aria-pressed={value === shown}
              onClick={() => ask({ show: value, level: undefined, state: undefined, rule: undefined })}
            >
              {title}
            </button>
          ))}
        </fieldset>
      </header>
      {shown === 'decisions' ? (
        <NoticeDecisions />
      ) : shown === 'suspended' ? (
        <NoticeSuspensions />
      ) : (
        <NoticeList />
      )}
    </div>
  )
}
