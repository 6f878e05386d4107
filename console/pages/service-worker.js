/**
 * Shows notices that the console pushes, also while no page is open; and says that the console cannot be reached, where it
 * cannot. It keeps that one page and nothing else: pictures and names stay with the console.
 *
 * The console writes ASSETS before it, where the pages' files are: with new pages it is another worker.
 */
/* global ASSETS */

const OFFLINE = '/offline'
const KEPT = `sightline offline ${ASSETS}`
/** UUID: what is not one leads nowhere. */
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

self.addEventListener('install', (event) => {
  event.waitUntil(keepOffline())
  // Pages that are open need nothing of the one before.
  self.skipWaiting()
})

self.addEventListener('activate', (event) => {
  event.waitUntil(forgetOthers())
})

self.addEventListener('fetch', (event) => {
  if (event.request.mode === 'navigate')
    event.respondWith(
      fetch(event.request).catch(async () => (await caches.match(OFFLINE)) ?? Response.error()),
    )
})

self.addEventListener('push', (event) => {
  event.waitUntil(show(read(event.data)))
})

self.addEventListener('notificationclick', (event) => {
  event.notification.close()
  event.waitUntil(open(event.notification.data?.path ?? '/notices'))
})

self.addEventListener('pushsubscriptionchange', (event) => {
  event.waitUntil(subscribeAgain(event.oldSubscription))
})

async function keepOffline() {
  const kept = await caches.open(KEPT)
  await kept.addAll([OFFLINE, `${ASSETS}/base.css`, `${ASSETS}/offline.css`, `${ASSETS}/icon.svg`])
}

async function forgetOthers() {
  for (const name of await caches.keys()) if (name !== KEPT) await caches.delete(name)
  await self.clients.claim()
}

/** The notice, or an empty one: a browser asks that each push shows something. */
function read(data) {
  try {
    const notice = data?.json()
    return typeof notice === 'object' && notice !== null ? notice : {}
  } catch {
    return {}
  }
}

async function show(notice) {
  const text = (value) => (typeof value === 'string' ? value : '')
  const id = ID.test(text(notice.id)) ? notice.id : undefined
  const picture = pictureOf(notice)
  await self.registration.showNotification(text(notice.title) || 'Sightline noticed something', {
    body: text(notice.text) || (id ? '' : 'Open the console to see it.'),
    // A better picture of it takes its place, without a sound.
    tag: id ?? 'sightline',
    silent: Number(notice.revision) > 0,
    requireInteraction: notice.level === 'problem' && !(Number(notice.revision) > 0),
    timestamp: Number.isFinite(notice.atMs) ? notice.atMs : Date.now(),
    icon: `${ASSETS}/icon-192.png`,
    badge: `${ASSETS}/icon-badge-96.png`,
    ...(picture ? { image: picture } : {}),
    data: { path: id ? `/notices/${id}` : '/notices' },
  })
}

/** Signed addresses are good without a session, and end. */
function pictureOf({ picture }) {
  try {
    const { protocol, href } = new URL(picture?.url, self.location.origin)
    return picture?.url && /^https?:$/.test(protocol) ? href : undefined
  } catch {
    return undefined
  }
}

/** In a window that is open, the one that was looked at last; else in a new one. */
async function open(path) {
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true })
  for (const window of windows) {
    try {
      if (new URL(window.url).pathname !== path) await window.navigate(path)
      await window.focus()
      return
    } catch {
      // It is gone meanwhile, or not ours to lead.
    }
  }
  await self.clients.openWindow(path)
}

async function subscribeAgain(old) {
  if (!old) return
  const made = await self.registration.pushManager.subscribe(old.options)
  const { endpoint, keys } = made.toJSON()
  await fetch('/api/v1/push', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ endpoint, keys }),
    credentials: 'same-origin',
  })
}
