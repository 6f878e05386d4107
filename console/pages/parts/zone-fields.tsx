import type { ComponentChildren } from 'preact'
import { useId, useState } from 'preact/hooks'
import { type DrawnZone, hueOf, nameProblem } from './zone-shape.ts'

/** What a zone has beside its corners, as fields. */
export function ZoneFields<Zone extends DrawnZone>({
  zone,
  number,
  isMask,
  isPicked,
  others,
  pick,
  change,
  remove,
  children,
}: {
  readonly zone: Zone
  readonly number: number
  readonly isMask: boolean
  readonly isPicked: boolean
  /** Names that are taken. */
  readonly others: readonly string[]
  readonly pick: () => void
  readonly change: (zone: Zone) => void
  readonly remove: () => void
  readonly children?: ComponentChildren
}) {
  // What is typed stays, also while it is no name; what is wrong with it is said.
  const [typed, setTyped] = useState<string | undefined>(undefined)
  const name = typed ?? zone.name
  const wrong = isMask ? undefined : nameProblem(name, others)
  const id = useId()
  const { sizeMin = 0, sizeMax = 1 } = zone
  return (
    <div
      class="zone-card"
      data-picked={isPicked ? '' : undefined}
      style={{ '--hue': String(hueOf(zone.name)) }}
      onFocusCapture={pick}
    >
      <div class="zone-card-head">
        <span class="zone-swatch" />
        {isMask ? (
          <button type="button" class="link-button" onClick={pick}>
            Mask {number}
          </button>
        ) : (
          <label class="field">
            <span>Name of the zone</span>
            <input
              value={name}
              maxLength={63}
              autocomplete="off"
              spellcheck={false}
              aria-invalid={wrong !== undefined}
              aria-describedby={wrong ? id : undefined}
              onInput={({ currentTarget: { value } }) => {
                setTyped(value)
                if (nameProblem(value, others) === undefined) change({ ...zone, name: value })
              }}
              onBlur={() => wrong === undefined && setTyped(undefined)}
            />
          </label>
        )}
        <button type="button" class="button button-danger" onClick={remove}>
          Delete<span class="visually-hidden"> {isMask ? `mask ${number}` : zone.name}</span>
        </button>
      </div>
      {wrong && (
        <p class="field-wrong" id={id}>
          {wrong}
        </p>
      )}
      {!isMask && isPicked && (
        <div class="zone-card-fields">
          <Share
            label="Only faces at least this tall"
            value={zone.sizeMin}
            set={(value) => change({ ...zone, sizeMin: value })}
          />
          <Share
            label="Only faces at most this tall"
            value={zone.sizeMax}
            set={(value) => change({ ...zone, sizeMax: value })}
          />
          <label class="field">
            <span>Stays after, seconds</span>
            <input
              type="number"
              min="1"
              max="86400"
              step="any"
              placeholder="not said"
              value={zone.stayS ?? ''}
              onInput={({ currentTarget: { value } }) =>
                change({ ...zone, stayS: Number(value) > 0 ? Number(value) : undefined })
              }
            />
          </label>
          {sizeMin > sizeMax && (
            <p class="field-wrong">
              The smallest face is larger than the largest one: no face is in this zone.
            </p>
          )}
        </div>
      )}
      {isPicked && children}
    </div>
  )
}

/** A part of the picture's height, in percent. */
function Share({
  label,
  value,
  set,
}: {
  readonly label: string
  readonly value: number | undefined
  readonly set: (value: number | undefined) => void
}) {
  return (
    <label class="field">
      <span>{label}, % of the picture</span>
      <input
        type="number"
        min="1"
        max="100"
        step="any"
        placeholder="any"
        value={value === undefined ? '' : Math.round(value * 1000) / 10}
        onInput={({ currentTarget: { value: text } }) =>
          set(text === '' ? undefined : Math.min(1, Math.max(0, Number(text) / 100)))
        }
      />
    </label>
  )
}
