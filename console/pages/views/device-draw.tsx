import { useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import { type Setting, valueWords } from '../device-settings.ts'
import type { CameraSettings, Reported } from '../device-types.ts'
import { ScenePicture, useLiveChoice } from '../parts/scene-picture.tsx'
import { ZoneEditor } from '../parts/zone-editor.tsx'
import { type DrawnZone, type Point, rectangle } from '../parts/zone-shape.ts'

/** Zones, masks, and the part that is looked at, drawn on the camera's picture. */

type Zones = NonNullable<CameraSettings['zones']>
type Masks = NonNullable<CameraSettings['masks']>
type Region = NonNullable<CameraSettings['region']>

export function DrawField({
  setting,
  value,
  now,
  camera,
  opened,
  onChange,
}: {
  readonly setting: Setting
  readonly value: unknown
  readonly now: unknown
  /** undefined: it is not there yet. */
  readonly camera: Camera | undefined
  readonly opened: NonNullable<Reported['opened']>[string] | undefined
  readonly onChange: (value: unknown) => void
}) {
  const [isOpen, setOpen] = useState(false)
  const { isLive, button } = useLiveChoice(camera)
  const { kind, title, hint } = setting
  const drawn = drawnOf(kind.is, value ?? now)
  const picture = camera ? (
    <ScenePicture camera={camera} isLive={isLive} />
  ) : (
    <OpenedPicture name={title} opened={opened} />
  )
  return (
    <div class="field setting-draw">
      <span>{title}</span>
      <p class="setting-drawn">
        {value === undefined ? (
          <span class="muted">not set here: {valueWords(setting, now).toLowerCase()}</span>
        ) : (
          valueWords(setting, value)
        )}
      </p>
      <p class="buttons">
        <button type="button" class="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? 'Done' : 'Draw'}
        </button>
        {isOpen && button}
        {value !== undefined && (
          <button type="button" class="link-button" onClick={() => onChange(undefined)}>
            Do not set it here
          </button>
        )}
        {kind.is === 'region' && value !== null && (
          <button type="button" class="link-button" onClick={() => onChange(null)}>
            Look at all of it
          </button>
        )}
      </p>
      {hint && <small class="muted">{hint}</small>}
      {isOpen && (
        <ZoneEditor
          picture={picture}
          zones={drawn}
          isMask={kind.is !== 'zones'}
          {...(kind.is === 'region' ? { zonesMax: 1 } : {})}
          onChange={(zones) => onChange(writtenOf(kind.is, zones))}
        />
      )}
    </div>
  )
}

/** What the device saw when it tried the camera. */
export function OpenedPicture({
  name,
  opened,
}: {
  readonly name: string
  readonly opened: NonNullable<Reported['opened']>[string] | undefined
}) {
  return (
    <div class="screen">
      {opened?.picture ? (
        <img
          class="screen-picture"
          src={`data:image/jpeg;base64,${opened.picture}`}
          alt={`What ${name} saw when it was opened`}
        />
      ) : (
        <p class="screen-said">{opened?.error?.message ?? 'No picture'}</p>
      )}
    </div>
  )
}

const pointsOf = (points: readonly (readonly [number, number])[]): Point[] => points.map(([x, y]) => [x, y])

function drawnOf(kind: string, value: unknown): DrawnZone[] {
  if (kind === 'region') {
    if (typeof value !== 'object' || value === null) return []
    return [{ name: 'region', points: cornersOf(value as Region) }]
  }
  if (!Array.isArray(value)) return []
  if (kind === 'zones') return (value as Zones).map((zone) => ({ ...zone, points: pointsOf(zone.points) }))
  return (value as Masks).map((mask, index) => ({
    name: `mask-${index + 1}`,
    points: 'points' in mask ? pointsOf(mask.points) : cornersOf(mask),
  }))
}

const cornersOf = ({ left, top, width, height }: Region): Point[] =>
  rectangle(left, top, left + width, top + height)

function writtenOf(kind: string, drawn: readonly DrawnZone[]): unknown {
  if (kind === 'zones') return drawn
  if (kind === 'masks') return drawn.map(({ points }) => ({ points }))
  const [one] = drawn
  if (!one) return null
  const xs = one.points.map(([x]) => x)
  const ys = one.points.map(([, y]) => y)
  const [left, top] = [Math.min(...xs), Math.min(...ys)]
  return { left, top, width: rounded(Math.max(...xs) - left), height: rounded(Math.max(...ys) - top) }
}

const rounded = (value: number) => Math.round(value * 10_000) / 10_000
