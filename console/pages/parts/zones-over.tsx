import { useEffect, useRef, useState } from 'preact/hooks'
import { valueAt } from '../device-settings.ts'
import type { CameraSettings } from '../device-types.ts'
import { desired } from '../devices.ts'
import { useLoaded } from '../loaded.ts'
import { may } from '../session.ts'

/** A camera's zones as they hold, drawn over what it sees. */

export type Zones = NonNullable<CameraSettings['zones']>

/** As the device says that they hold; none for who may not know a device's settings. */
export function useZones({
  site,
  device,
  camera,
}: {
  readonly site: string
  readonly device: string
  readonly camera: string
}): Zones {
  const loaded = useLoaded(`zones ${site}/${device}`, (signal) =>
    may('scenarios')
      ? // Without them the picture is what it was.
        desired({ site, device }, signal).catch(() => undefined)
      : Promise.resolve(undefined),
  )
  const zones = valueAt(loaded.value?.reported?.effective.cameras[camera], ['zones'])
  return Array.isArray(zones) ? (zones as Zones) : []
}

const ASPECT = 16 / 9

/** Stands in the same frame as a `.screen`, after it: where the picture in there lies, and on it the zones. */
export function ZonesOver({ zones }: { readonly zones: Zones }) {
  const svg = useRef<SVGSVGElement>(null)
  const [aspect, setAspect] = useState(ASPECT)
  useEffect(() => {
    const look = () => {
      const picture = svg.current?.parentElement?.querySelector<HTMLElement>('.screen-picture')
      const [width, height] =
        picture instanceof HTMLImageElement
          ? [picture.naturalWidth, picture.naturalHeight]
          : picture instanceof HTMLCanvasElement
            ? [picture.width, picture.height]
            : [0, 0]
      if (width > 0 && height > 0) setAspect(width / height)
    }
    const timer = setInterval(look, 1000)
    look()
    return () => clearInterval(timer)
  }, [zones.length])
  if (zones.length === 0) return null
  return (
    <svg
      ref={svg}
      class="zones-over"
      viewBox={`0 0 ${aspect * 100} 100`}
      role="img"
      aria-label={`Zones: ${zones.map(({ name }) => name).join(', ')}`}
    >
      <ZoneShapes zones={zones} width={aspect * 100} height={100} />
    </svg>
  )
}

/** The polygons with their names, within a drawing of that size. */
export function ZoneShapes({
  zones,
  width,
  height,
}: {
  readonly zones: Zones
  readonly width: number
  readonly height: number
}) {
  return (
    <g class="zone-shapes">
      {zones.map(({ name, points }) => {
        const [x, y] = points[0] ?? [0, 0]
        return (
          <g key={name}>
            <polygon points={points.map(([px, py]) => `${px * width},${py * height}`).join(' ')} />
            <text x={x * width + height * 0.015} y={y * height + height * 0.055} font-size={height * 0.045}>
              {name}
            </text>
          </g>
        )
      })}
    </g>
  )
}
