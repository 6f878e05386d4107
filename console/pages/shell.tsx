import { type ComponentType, h } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { standing } from './news.ts'
import { MENU, type PageOf, routeOf } from './pages.ts'
import { Dialog } from './parts/dialog.tsx'
import { icons } from './parts/icons.tsx'
import { murmur, Said } from './parts/said.tsx'
import { Failed } from './parts/states.tsx'
import { moves, place } from './router.ts'
import { me, signOut } from './session.ts'
import { choose, type Theme, theme } from './theme.ts'

/** What stands around every page: the menu, who is signed in, whether the page is up to date. */

/** On a phone so many entries stand at the bottom; the rest is behind "More". */
const BAR_ENTRIES = 4

export function Shell() {
  const route = routeOf(place.value.path)
  const entries = MENU.filter(({ isFor }) => isFor())
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="rail">
        <a class="mark" href="/">
          Sightline
        </a>
        <nav class="menu" aria-label="Pages">
          <ul>
            {entries.map((entry) => (
              <Entry key={entry.name} entry={entry} isHere={entry.name === route?.of} />
            ))}
          </ul>
        </nav>
        <div class="rail-foot">
          <Standing />
          <Account />
        </div>
      </header>
      <Bar entries={entries} here={route?.of} />
      <main id="main" class="main" tabIndex={-1}>
        <Outlet />
      </main>
      <Said />
    </>
  )
}

function Entry({ entry, isHere }: { readonly entry: PageOf; readonly isHere: boolean }) {
  return (
    <li>
      <a class="menu-entry" href={entry.href} aria-current={isHere ? 'page' : undefined}>
        {h(icons[entry.icon], {})}
        <span>{titleOf(entry)}</span>
      </a>
    </li>
  )
}

/** Who is no administrator finds there his own tokens and links. */
const titleOf = ({ name, title }: PageOf) =>
  name === 'people' && me.value?.role !== 'admin' ? 'Account' : title

/** On a phone, at the bottom, where a thumb is. */
function Bar({ entries, here }: { readonly entries: readonly PageOf[]; readonly here: string | undefined }) {
  const [isOpen, setOpen] = useState(false)
  // Whoever has moved has chosen.
  useEffect(() => setOpen(false), [place.value.path])
  const order = [
    ...['overview', 'faces', 'cameras', 'notices', 'recordings', 'scenarios', 'flow', 'streams', 'publish'],
    ...['charts', 'channels', 'devices', 'health', 'people', 'api'],
  ]
  const sorted = [...entries].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
  const rest = sorted.slice(BAR_ENTRIES)
  return (
    <nav class="bar" aria-label="Pages, short">
      <ul>
        {sorted.slice(0, BAR_ENTRIES).map((entry) => (
          <Entry key={entry.name} entry={entry} isHere={entry.name === here} />
        ))}
        <li>
          <button
            type="button"
            class="menu-entry"
            aria-current={rest.some(({ name }) => name === here) ? 'true' : undefined}
            onClick={() => setOpen(true)}
          >
            {h(icons.more, {})}
            <span>More</span>
          </button>
        </li>
      </ul>
      {isOpen && (
        <Dialog title="More" onClose={() => setOpen(false)}>
          <ul class="more">
            {rest.map((entry) => (
              <Entry key={entry.name} entry={entry} isHere={entry.name === here} />
            ))}
          </ul>
          <div class="more-foot">
            <Standing />
            <Account />
          </div>
        </Dialog>
      )}
    </nav>
  )
}

const STANDINGS = {
  connecting: 'Connecting …',
  following: 'Up to date',
  lost: 'Connection lost. Trying again …',
}

function Standing() {
  return (
    <p class="standing" data-is={standing.value} role="status">
      <span class="dot" />
      {STANDINGS[standing.value]}
    </p>
  )
}

const THEMES: readonly (readonly [Theme, string])[] = [
  ['system', 'Auto'],
  ['light', 'Light'],
  ['dark', 'Dark'],
]

function Account() {
  const person = me.value
  if (!person) return null
  return (
    <div class="account">
      <fieldset class="themes">
        <legend class="visually-hidden">Colours</legend>
        {THEMES.map(([value, label]) => (
          <button
            key={value}
            type="button"
            class="themes-choice"
            aria-pressed={theme.value === value}
            onClick={() => choose(value)}
          >
            {label}
          </button>
        ))}
      </fieldset>
      <p class="account-who">
        <span class="account-name" title={person.name}>
          {person.name}
        </span>
        <span class="account-role">{person.role}</span>
      </p>
      <button type="button" class="link-button" onClick={() => void signOut()}>
        Sign out
      </button>
    </div>
  )
}

type Opened =
  | {
      readonly path: string
      readonly component: ComponentType<{ readonly params: Readonly<Record<string, string>> }>
    }
  | { readonly path: string; readonly error: unknown }

/** The page of this address. What was there stays until the next one can be drawn. */
function Outlet() {
  const { path } = place.value
  const route = routeOf(path)
  const [opened, set] = useState<Opened | undefined>(undefined)
  const [round, setRound] = useState(0)
  const isFirst = useRef(true)
  // The path says it all; a round is another try.
  useEffect(() => {
    let isWanted = true
    route?.load().then(
      ({ default: component }) => {
        if (isWanted) set({ path, component })
      },
      (error: unknown) => {
        if (isWanted) set({ path, error })
      },
    )
    return () => {
      isWanted = false
    }
  }, [path, round])
  // Focus goes to the new page's heading, which a screen reader then says.
  const { value: move } = moves
  // Once a page.
  useEffect(() => {
    const heading = document.querySelector<HTMLElement>('#main h1')
    if (heading) document.title = `${heading.textContent} · Sightline`
    if (isFirst.current) {
      if (opened) isFirst.current = false
      return
    }
    if (!heading) return
    heading.tabIndex = -1
    heading.focus({ preventScroll: true })
    murmur(`${heading.textContent}`)
  }, [move, opened?.path])
  if (!route)
    return (
      <div class="page">
        <h1>Nothing here</h1>
        <p>
          No page has this address. <a href="/">Go to the overview</a>
        </p>
      </div>
    )
  if (!opened) return null
  if ('error' in opened) return <Lost error={opened.error} again={() => setRound(round + 1)} />
  // An address of the same page with other names in it.
  const params = opened.path === path ? route.params : (routeOf(opened.path)?.params ?? {})
  return h(opened.component, { key: opened.path, params })
}

/** Mostly because the console has been updated meanwhile: the page's module has another address now. */
function Lost({ error, again }: { readonly error: unknown; readonly again: () => void }) {
  return (
    <div class="page">
      <h1>This page could not be opened</h1>
      <p>The console may have been updated, or the connection was lost.</p>
      <p class="buttons">
        <button type="button" class="button" onClick={() => location.reload()}>
          Reload
        </button>
        <button type="button" class="button" onClick={again}>
          Try again
        </button>
      </p>
      <details class="details">
        <summary>What happened</summary>
        <Failed error={error} />
      </details>
    </div>
  )
}
