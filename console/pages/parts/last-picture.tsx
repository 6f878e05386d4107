import { useEffect, useRef, useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import { pictureAddress } from '../api.ts'
import { useEvery } from '../loaded.ts'
import { may } from '../session.ts'
import { PictureAge } from './picture-age.tsx'
import { When } from './when.tsx'

/** Of a wall: each camera that is in sight is asked so often. */
const REFRESH_MS = 15_000

/** The newest single picture of a camera, with its age. Fetched while it is in sight. */
export function LastPicture({ camera }: { readonly camera: Camera }) {
  const [shown, setShown] = useState<{ readonly url: string; readonly atMs: number } | undefined>(undefined)
  const [isNone, setNone] = useState(false)
  const screen = useRef<HTMLDivElement>(null)
  const isSeen = useRef(false)
  const address = pictureAddress(camera)
  // Whoever may not see it live, and a camera that gives none, is not asked.
  const isAsked = may('live') && (camera.is === 'live' || camera.is === 'opening')
  const current = useRef<AbortController | undefined>(undefined)

  const fetchIt = async () => {
    if (!isAsked || !isSeen.current || current.current) return
    const controller = new AbortController()
    current.current = controller
    try {
      const response = await fetch(address, { signal: controller.signal, credentials: 'same-origin' })
      if (response.ok) {
        const atMs = timeOf(response.headers)
        const url = URL.createObjectURL(await response.blob())
        setShown((old) => {
          if (old) URL.revokeObjectURL(old.url)
          return { url, atMs }
        })
      }
      setNone(!response.ok)
    } catch {
      // It is tried again; the picture's age says that it grows old meanwhile.
    }
    current.current = undefined
  }
  useEvery(REFRESH_MS, () => void fetchIt())
  // Once a camera.
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => {
      isSeen.current = entries.some(({ isIntersecting }) => isIntersecting)
      void fetchIt()
    })
    if (screen.current) observer.observe(screen.current)
    return () => {
      observer.disconnect()
      current.current?.abort()
    }
  }, [address, isAsked])
  const url = shown?.url
  useEffect(
    () => () => {
      if (url) URL.revokeObjectURL(url)
    },
    [url],
  )
  return (
    <div ref={screen} class="screen">
      {shown ? (
        <>
          <img class="screen-picture" src={shown.url} alt={`What ${camera.camera} saw last`} />
          <PictureAge atMs={shown.atMs} isLive={false} />
        </>
      ) : (isNone || !isAsked) && camera.newest ? (
        <>
          <img
            class="screen-picture screen-face"
            src={camera.newest.picture}
            alt={`Newest face at ${camera.camera}`}
          />
          <span class="age">
            Last face <When atMs={camera.newest.capturedAtMs} />
          </span>
        </>
      ) : (
        <p class="screen-said">{isNone || !isAsked ? 'No picture' : ''}</p>
      )}
    </div>
  )
}

/** When it came to the console, by the console's clock: the device's may be wrong. */
const timeOf = (headers: Headers) => Number(headers.get('x-received-at-ms') ?? Date.now())
