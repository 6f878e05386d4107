import { signal } from '@preact/signals'

/** The time, every second while the page is seen: for ages that are shown. */
export const nowMs = signal(Date.now())

setInterval(() => {
  if (!document.hidden) nowMs.value = Date.now()
}, 1000)
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) nowMs.value = Date.now()
})
