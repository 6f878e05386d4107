import { useEffect, useRef, useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import { liveAddress, originalAddress, Problem } from '../api.ts'
import { newestParts } from '../multipart.ts'
import { PictureAge } from './picture-age.tsx'

/** Such as a console that restarts. */
const AGAIN_MS = 2000

/**
 * What a camera sees now. The pictures are drawn as they come; one that is the same as the one before, byte by byte, is no
 * new one, so that a camera that repeats itself counts as frozen too.
 */
export function LivePicture({
  camera,
  isOriginal = false,
}: {
  /** Without the camera's effect. */
  readonly isOriginal?: boolean
  readonly camera: Pick<Camera, 'site' | 'device' | 'camera' | 'state'>
}) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [atMs, setAtMs] = useState<number | undefined>(undefined)
  const [said, setSaid] = useState('Asking the camera …')
  const address = isOriginal ? originalAddress(camera) : liveAddress(camera)
  useEffect(() => {
    const gone = new AbortController()
    void (async () => {
      while (!gone.signal.aborted) {
        try {
          await show(address, gone.signal, canvas, (receivedAtMs) => {
            setSaid('')
            setAtMs(receivedAtMs)
          })
          setSaid('The stream has ended. Trying again …')
        } catch (error) {
          if (gone.signal.aborted) return
          if (error instanceof Problem && error.status < 500 && error.status > 0) {
            setSaid(error.detail)
            return
          }
          setSaid('No connection. Trying again …')
        }
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
      }
    })()
    return () => gone.abort()
  }, [address])
  const isPaused = camera.state?.paused ?? false
  return (
    <div class="screen">
      <canvas
        ref={canvas}
        class="screen-picture"
        role="img"
        aria-label={`Live picture of ${camera.camera}${isOriginal ? ', without effect' : ''}`}
      />
      {atMs === undefined && <p class="screen-said">{isPaused ? 'The camera is paused.' : said}</p>}
      {atMs !== undefined && said !== '' && <p class="screen-note">{said}</p>}
      <PictureAge atMs={atMs} isLive isPaused={isPaused} />
    </div>
  )
}

async function show(
  address: string,
  signal: AbortSignal,
  canvas: { readonly current: HTMLCanvasElement | null },
  shown: (receivedAtMs: number) => void,
): Promise<void> {
  const response = await fetch(address, { signal, credentials: 'same-origin' })
  if (!response.ok || !response.body) throw await problem(response)
  let before = new Uint8Array(0)
  let toldAtMs = 0
  for await (const { bytes } of newestParts(response.body)) {
    if (isSame(before, bytes)) continue
    before = bytes
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }))
    const target = canvas.current
    if (target) {
      if (target.width !== bitmap.width) target.width = bitmap.width
      if (target.height !== bitmap.height) target.height = bitmap.height
      target.getContext('2d')?.drawImage(bitmap, 0, 0)
    }
    bitmap.close()
    const now = Date.now()
    // The age is shown in seconds: it need not be drawn ten times in one.
    if (now - toldAtMs > 500) {
      toldAtMs = now
      shown(now)
    }
  }
}

async function problem(response: Response): Promise<Problem> {
  const details = (await response.json().catch(() => ({}))) as Partial<Problem>
  return new Problem({
    status: response.status,
    code: details.code ?? String(response.status),
    title: details.title ?? '',
    detail: details.detail ?? `The console answered with status ${response.status}.`,
  })
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
