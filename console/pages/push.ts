import { request } from './api.ts'

/**
 * Notices on this device: the worker that shows them (service-worker.js), the browser's permission, and its subscription, of
 * which the console is told.
 */

export interface Browser {
  readonly id: string
  readonly name: string
  readonly createdAtMs: number
  readonly lastSentMs: number | null
}

const WORKER = '/service-worker.js'
/** By which the browser knows itself in the list. */
const ID = 'sightline-push'

export const browsers = (signal?: AbortSignal) =>
  request<{ readonly items: readonly Browser[] }>('GET', '/push', { signal })
export const forgetBrowser = (id: string) => request<void>('DELETE', `/push/${encodeURIComponent(id)}`)

/** Why it cannot be here; undefined: it can. */
export type Hindrance =
  | 'not secure'
  /** An iPhone or iPad shows notices only of pages on its home screen. */
  | 'not installed'
  | 'not known'
  | 'denied'

export function hindrance(): Hindrance | undefined {
  if (!isSecureContext) return 'not secure'
  if (!('serviceWorker' in navigator) || !('PushManager' in globalThis) || !('Notification' in globalThis))
    return isApplePhone() && !isInstalled() ? 'not installed' : 'not known'
  return Notification.permission === 'denied' ? 'denied' : undefined
}

const isApplePhone = () =>
  /iPhone|iPad|iPod/.test(navigator.userAgent) ||
  // An iPad says that it is a Mac; no Mac has a screen to touch.
  (/Macintosh/.test(navigator.userAgent) && navigator.maxTouchPoints > 1)

export const isInstalled = () => matchMedia('(display-mode: standalone)').matches

/** Where somebody wants it: installed, or with notices. Others get no worker. */
export function startWorker(): void {
  if (!isSecureContext || !('serviceWorker' in navigator)) return
  const wanted = isInstalled() || ('Notification' in globalThis && Notification.permission === 'granted')
  // Without it the page works all the same.
  if (wanted) register().catch(() => undefined)
}

const register = () => navigator.serviceWorker.register(WORKER, { scope: '/', updateViaCache: 'none' })

async function subscription(): Promise<PushSubscription | null> {
  const registration = await navigator.serviceWorker?.getRegistration('/')
  return (await registration?.pushManager?.getSubscription()) ?? null
}

/** Which of the list is this browser; undefined: none. */
export async function here(): Promise<string | undefined> {
  if (hindrance() !== undefined || (await subscription()) === null) return undefined
  return stored()
}

/** Asks for the permission, and tells the console. Errors: `denied` as a Problem's text, those of the API */
export async function switchOn(): Promise<void> {
  const permission = await Notification.requestPermission()
  if (permission !== 'granted') throw new Error(NOT_GRANTED)
  const registration = await register()
  await navigator.serviceWorker.ready
  const { key } = await request<{ readonly key: string }>('GET', '/push/key')
  const old = await registration.pushManager.getSubscription()
  // Of another key: such as of a console that was set up anew at this address.
  if (old && !isOf(old, key)) await old.unsubscribe()
  const made = await registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: bytesOf(key),
  })
  const { endpoint, keys } = made.toJSON()
  try {
    const { id } = await request<Browser>('POST', '/push', { body: { endpoint, keys, name: browserName() } })
    store(id)
  } catch (error) {
    await made.unsubscribe()
    throw error
  }
}

const NOT_GRANTED =
  'The browser was not allowed to show notices. You can allow it in its settings for this page.'

/** Here no more; the console forgets it too, where it can be reached. */
export async function switchOff(): Promise<void> {
  const id = stored()
  await (await subscription())?.unsubscribe()
  store(undefined)
  if (id !== undefined) await forgetBrowser(id)
}

function stored(): string | undefined {
  try {
    return localStorage.getItem(ID) ?? undefined
  } catch {
    return undefined
  }
}

function store(id: string | undefined): void {
  try {
    if (id === undefined) localStorage.removeItem(ID)
    else localStorage.setItem(ID, id)
  } catch {
    // Then the list does not say which of them it is.
  }
}

function bytesOf(base64url: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64url.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}

function isOf(made: PushSubscription, key: string): boolean {
  const of = made.options.applicationServerKey
  if (!of) return true
  const wanted = bytesOf(key)
  const had = new Uint8Array(of)
  return had.length === wanted.length && had.every((byte, index) => byte === wanted[index])
}

const BROWSERS = [
  ['Edg/', 'Edge'],
  ['OPR/', 'Opera'],
  ['SamsungBrowser/', 'Samsung Internet'],
  ['Firefox/', 'Firefox'],
  ['Chrome/', 'Chrome'],
  ['Safari/', 'Safari'],
] as const
const SYSTEMS = [
  [/iPhone|iPod/, 'iPhone'],
  [/iPad/, 'iPad'],
  [/Android/, 'Android'],
  [/Windows/, 'Windows'],
  [/Mac OS/, 'Mac'],
  [/CrOS/, 'ChromeOS'],
  [/Linux/, 'Linux'],
] as const

/** Such as `Chrome on Android`: people tell their browsers apart by it. */
export function browserName(agent = navigator.userAgent): string {
  const browser = BROWSERS.find(([mark]) => agent.includes(mark))?.[1] ?? 'A browser'
  const system = SYSTEMS.find(([mark]) => mark.test(agent))?.[1]
  return system ? `${browser} on ${system}` : browser
}
