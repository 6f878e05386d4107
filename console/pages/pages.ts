import type { ComponentType } from 'preact'
import type { IconName } from './parts/icons.tsx'
import { isUnconfined, may, me } from './session.ts'

/** Which pages there are, at what addresses, and for whom. Each one's module is fetched when it is first opened. */
export interface PageOf {
  readonly name: string
  readonly title: string
  readonly href: string
  readonly icon: IconName
  readonly isFor: () => boolean
}

export interface GroupOf {
  readonly title: string
  readonly pages: readonly PageOf[]
}

/** By what somebody comes for. */
export const MENU: readonly GroupOf[] = [
  {
    title: 'Watch',
    pages: [
      { name: 'overview', title: 'Overview', href: '/', icon: 'overview', isFor: () => may('see') },
      { name: 'faces', title: 'Faces', href: '/faces', icon: 'faces', isFor: () => may('see') },
      { name: 'cameras', title: 'Cameras', href: '/cameras', icon: 'cameras', isFor: () => may('see') },
      { name: 'notices', title: 'Notices', href: '/notices', icon: 'notices', isFor: () => may('notices') },
      {
        name: 'recordings',
        title: 'Recordings',
        href: '/recordings',
        icon: 'recordings',
        isFor: () => may('see') && may('recordings'),
      },
    ],
  },
  {
    title: 'Set up',
    pages: [
      {
        name: 'scenarios',
        title: 'Scenarios',
        href: '/scenarios',
        icon: 'scenarios',
        isFor: () => may('see') && may('scenarios'),
      },
      {
        name: 'channels',
        title: 'Channels',
        href: '/channels',
        icon: 'channels',
        isFor: () => may('scenarios') && isUnconfined(),
      },
      {
        name: 'devices',
        title: 'Devices',
        href: '/devices',
        icon: 'devices',
        isFor: () => may('see') && (may('scenarios') || may('flow')),
      },
      {
        name: 'streams',
        title: 'Streams',
        href: '/streams',
        icon: 'streams',
        isFor: () => may('see') && may('streams'),
      },
      { name: 'publish', title: 'Publish', href: '/publish', icon: 'publish', isFor: () => may('streams') },
    ],
  },
  {
    title: 'Look after',
    pages: [
      { name: 'charts', title: 'Charts', href: '/charts', icon: 'charts', isFor: () => may('see') },
      { name: 'flow', title: 'Flow', href: '/flow', icon: 'flow', isFor: () => may('flow') },
      { name: 'health', title: 'Health', href: '/health', icon: 'health', isFor: () => may('flow') },
    ],
  },
  {
    title: 'Account',
    pages: [
      {
        name: 'people',
        title: 'People',
        href: '/people',
        icon: 'people',
        isFor: () => me.value !== undefined,
      },
      { name: 'api', title: 'API', href: '/api', icon: 'api', isFor: () => me.value !== undefined },
    ],
  },
]

type Params = Readonly<Record<string, string>>
type Component = ComponentType<{ readonly params: Params }>

interface Route {
  readonly pattern: RegExp
  /** Of the menu's entry that is lit. */
  readonly of: string
  readonly load: () => Promise<{ readonly default: Component }>
}

const ROUTES: readonly Route[] = [
  { pattern: /^\/$/, of: 'overview', load: () => import('./views/overview.tsx') },
  { pattern: /^\/faces$/, of: 'faces', load: () => import('./views/faces.tsx') },
  { pattern: /^\/faces\/(?<id>[^/]+)$/, of: 'faces', load: () => import('./views/face.tsx') },
  { pattern: /^\/cameras$/, of: 'cameras', load: () => import('./views/cameras.tsx') },
  {
    pattern: /^\/cameras\/(?<site>[^/]+)\/(?<device>[^/]+)\/(?<camera>[^/]+)$/,
    of: 'cameras',
    load: () => import('./views/camera.tsx'),
  },
  { pattern: /^\/recordings$/, of: 'recordings', load: () => import('./views/recordings.tsx') },
  { pattern: /^\/streams$/, of: 'streams', load: () => import('./views/streams.tsx') },
  { pattern: /^\/publish$/, of: 'publish', load: () => import('./views/publish.tsx') },
  { pattern: /^\/scenarios$/, of: 'scenarios', load: () => import('./views/scenarios.tsx') },
  {
    pattern: /^\/scenarios\/(?<id>[^/]+)$/,
    of: 'scenarios',
    load: () => import('./views/scenario.tsx'),
  },
  { pattern: /^\/charts$/, of: 'charts', load: () => import('./views/charts.tsx') },
  { pattern: /^\/notices$/, of: 'notices', load: () => import('./views/notices.tsx') },
  { pattern: /^\/notices\/(?<id>[^/]+)$/, of: 'notices', load: () => import('./views/notice.tsx') },
  { pattern: /^\/channels$/, of: 'channels', load: () => import('./views/channels.tsx') },
  { pattern: /^\/devices$/, of: 'devices', load: () => import('./views/devices.tsx') },
  {
    pattern: /^\/devices\/(?<site>[^/]+)\/(?<device>[^/]+)$/,
    of: 'devices',
    load: () => import('./views/device.tsx'),
  },
  { pattern: /^\/flow$/, of: 'flow', load: () => import('./views/flow.tsx') },
  { pattern: /^\/health$/, of: 'health', load: () => import('./views/health.tsx') },
  { pattern: /^\/people$/, of: 'people', load: () => import('./views/people.tsx') },
  { pattern: /^\/api$/, of: 'api', load: () => import('./views/api-document.tsx') },
]

/** @returns undefined where the address leads nowhere */
export function routeOf(
  path: string,
): (Pick<Route, 'of' | 'load'> & { readonly params: Params }) | undefined {
  for (const { pattern, of, load } of ROUTES) {
    const groups = pattern.exec(path)
    if (!groups) continue
    const params = Object.fromEntries(
      Object.entries(groups.groups ?? {}).map(([name, value]) => [name, decode(value)]),
    )
    return { of, load, params }
  }
  return undefined
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
