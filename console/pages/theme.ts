import { signal } from '@preact/signals'

/** Dark or light: as the system says, or as somebody has chosen here. theme-early.js reads the same before the first paint. */
export type Theme = 'system' | 'light' | 'dark'

const KEY = 'sightline-theme'

const chosen = document.documentElement.dataset.theme
export const theme = signal<Theme>(chosen === 'light' || chosen === 'dark' ? chosen : 'system')

export function choose(next: Theme): void {
  theme.value = next
  if (next === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = next
  try {
    if (next === 'system') localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, next)
  } catch {
    // Without storage it holds until the page is closed.
  }
}

/** Whether it is dark now, whoever chose it; for what is drawn by scripts. */
export const isDark = () =>
  theme.value === 'system' ? matchMedia('(prefers-color-scheme: dark)').matches : theme.value === 'dark'
