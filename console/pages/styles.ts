/** A page's own style sheet, fetched with it, and kept. @returns when it applies, so that nothing is seen without it */
export function style(name: string): Promise<void> {
  const href = new URL(name, import.meta.url).pathname
  const there = document.querySelector(`link[href="${href}"]`)
  if (there) return Promise.resolve()
  const link = document.createElement('link')
  link.rel = 'stylesheet'
  link.href = href
  return new Promise((resolve) => {
    link.onload = () => resolve()
    // Unstyled is better than not at all.
    link.onerror = () => resolve()
    document.head.append(link)
  })
}
