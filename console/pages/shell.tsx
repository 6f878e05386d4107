import { type ComponentType, h } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { standing } from './news.ts'
import { type GroupOf, MENU, type PageOf, routeOf } from './pages.ts'
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
  const groups = MENU.map(({ title, pages }) => ({
    title,
    pages: pages.filter(({ isFor }) => isFor()),
  })).filter(({ pages }) => pages.length > 0)
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
          <Groups groups={groups} here={route?.of} />
        </nav>
        <div class="rail-foot">
          <Standing />
          <Account />
        </div>
      </header>
      <Bar groups={groups} here={route?.of} />
      <main id="main" class="main" tabIndex={-1}>
        <Outlet />
      </main>
      <Said />
    </>
  )
}

interface Grouped {
  readonly groups: readonly GroupOf[]
  /** The page that is open. */
  readonly here: string | undefined
}

function Groups({ groups, here }: Grouped) {
  return groups.map(({ title, pages }) => (
    <section key={title} class="menu-group" aria-label={title}>
      <p class="menu-title" aria-hidden="true">
        {title}
      </p>
      <ul>
        {pages.map((entry) => (
          <Entry key={entry.name} entry={entry} isHere={entry.name === here} />
        ))}
      </ul>
    </section>
  ))
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

/** On a phone, at the bottom, where a thumb is: the first pages there are; the rest stays in its groups. */
function Bar({ groups, here }: Grouped) {
  const [isOpen, setOpen] = useState(false)
  // Whoever has moved has chosen.
  useEffect(() => setOpen(false), [place.value.path])
  const first = groups.flatMap(({ pages }) => pages).slice(0, BAR_ENTRIES)
  const rest = groups
    .map(({ title, pages }) => ({ title, pages: pages.filter((page) => !first.includes(page)) }))
    .filter(({ pages }) => pages.length > 0)
  return (
    <nav class="bar" aria-label="Pages, short">
      <ul>
        {first.map((entry) => (
          <Entry key={entry.name} entry={entry} isHere={entry.name === here} />
        ))}
        <li>
          <button
            type="button"
            class="menu-entry"
            aria-current={first.some(({ name }) => name === here) ? undefined : 'true'}
            onClick={() => setOpen(true)}
          >
            {h(icons.more, {})}
            <span>More</span>
          </button>
        </li>
      </ul>
      {isOpen && (
        <Dialog title="More" onClose={() => setOpen(false)}>
          <div class="more">
            <Groups groups={rest} here={here} />
          </div>
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
    let heading = document.querySelector<HTMLElement>('#main h1')
    if (heading) document.title = `${heading.textContent} · Sightline`
    if (isFirst.current) {
      if (opened) isFirst.current = false
      return
    }
    if (!heading) return
    focusOn(heading)
    murmur(`${heading.textContent}`)
    // What is shown until a page has its data has a heading of its own: the focus goes on with the one that takes its place.
    const replaced = new MutationObserver(() => {
      if (heading?.isConnected) return
      heading = document.querySelector<HTMLElement>('#main h1')
      if (!heading) return
      document.title = `${heading.textContent} · Sightline`
      if (document.activeElement === document.body) focusOn(heading)
    })
    replaced.observe(document.querySelector('#main') as HTMLElement, { childList: true, subtree: true })
    return () => replaced.disconnect()
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

function focusOn(heading: HTMLElement): void {
  heading.tabIndex = -1
  heading.focus({ preventScroll: true })
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
