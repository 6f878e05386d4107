import { useEffect, useRef, useState } from 'preact/hooks'

/** Whether an element is in sight, or nearly. A browser's own lazy pictures begin thousands of pixels before that. */

const MARGIN_PX = 120

const watched = new Map<Element, () => void>()
const observer = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) watched.get(target)?.()
  },
  { rootMargin: `${MARGIN_PX}px` },
)

/** Once near, always near: what was fetched stays. */
export function useNear<Target extends Element>() {
  const target = useRef<Target>(null)
  const [isNear, setNear] = useState(false)
  useEffect(() => {
    const element = target.current
    if (!element || isNear) return
    const forget = () => {
      watched.delete(element)
      observer.unobserve(element)
    }
    watched.set(element, () => {
      forget()
      setNear(true)
    })
    observer.observe(element)
    return forget
  }, [isNear])
  return { target, isNear }
}
