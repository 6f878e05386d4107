import { type ComponentType, h } from 'preact'
import { ask, place } from '../router.ts'
import { may, me } from '../session.ts'
import { style } from '../styles.ts'
import { Audit } from './people-audit.tsx'
import { Shares } from './people-shares.tsx'
import { Tokens } from './people-tokens.tsx'
import { Users } from './people-users.tsx'
import { You } from './people-you.tsx'

await style('people.css')

/** Users, tokens, shares and the audit log; for others than admins, "Account": their own tokens, shares and password. */

interface Tab {
  readonly name: string
  readonly title: string
  readonly isFor: () => boolean
  readonly component: ComponentType
}

const TABS: readonly Tab[] = [
  { name: 'users', title: 'Users', isFor: () => may('people'), component: Users },
  { name: 'tokens', title: 'Tokens', isFor: () => true, component: Tokens },
  { name: 'shares', title: 'Shares', isFor: () => may('share'), component: Shares },
  { name: 'audit', title: 'Audit log', isFor: () => may('people'), component: Audit },
  { name: 'you', title: 'You', isFor: () => true, component: You },
]

export default function PeoplePage() {
  const tabs = TABS.filter(({ isFor }) => isFor())
  const tab = tabs.find(({ name }) => name === place.value.query.get('tab')) ?? tabs[0]
  return (
    <div class="page">
      <header class="page-head">
        <h1>{me.value?.role === 'admin' ? 'People' : 'Account'}</h1>
      </header>
      <fieldset class="switch">
        <legend class="visually-hidden">Show</legend>
        {tabs.map(({ name, title }) => (
          <button
            key={name}
            type="button"
            aria-pressed={name === tab?.name}
            onClick={() => ask({ tab: name })}
          >
            {title}
          </button>
        ))}
      </fieldset>
      {tab && h(tab.component, { key: tab.name })}
    </div>
  )
}
