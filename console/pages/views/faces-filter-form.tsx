import { useState } from 'preact/hooks'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { ask } from '../router.ts'
import { cameraKey, date } from '../words.ts'
import { type Filter, isEmpty, timeOf } from './faces-filter.ts'

/** What is shown from the beginning only where it is in use. */
const BEHIND_MORE = ['from', 'to', 'scoreMin', 'sizeMin'] as const

/** The filters, as a form; each change stands in the address bar at once. */
export function FilterForm({ filter }: { readonly filter: Filter }) {
  const cameras = useLoaded('filter cameras', api.cameras)
  const [isOpen, setOpen] = useState(BEHIND_MORE.some((name) => filter[name] !== undefined))
  const items = cameras.value?.items ?? []
  const sites = [...new Set(items.map(({ site }) => site))].sort()
  const wanted = [...(filter.site ?? []), ...(filter.device ?? []), ...(filter.camera ?? [])]
  const where = wanted.join(', ')
  const known = new Set(['', ...sites, ...items.map(cameraKey)])
  return (
    <search>
      <form class="filters" data-open={isOpen ? '' : undefined} onSubmit={(event) => event.preventDefault()}>
        <label class="field">
          <span>Where</span>
          <select
            value={where}
            onChange={({ currentTarget: { value } }) => {
              const isCamera = value.includes('/')
              ask({
                site: isCamera ? undefined : value,
                device: undefined,
                camera: isCamera ? value : undefined,
              })
            }}
          >
            <option value="">Everywhere</option>
            {!known.has(where) && <option value={where}>{where}</option>}
            {sites.map((site) => (
              <optgroup key={site} label={site}>
                <option value={site}>All of {site}</option>
                {items
                  .filter((camera) => camera.site === site)
                  .map((camera) => (
                    <option key={cameraKey(camera)} value={cameraKey(camera)}>
                      {camera.camera} ({camera.device})
                    </option>
                  ))}
              </optgroup>
            ))}
          </select>
        </label>
        <label class="field">
          <span>Mask, by the detector</span>
          <select
            value={filter.masked ?? ''}
            onChange={({ currentTarget: { value } }) => ask({ masked: value })}
          >
            <option value="">All</option>
            <option value="true">With a mask</option>
            <option value="false">Without</option>
            <option value="unknown">Not known</option>
          </select>
        </label>
        <AttributeField filter={filter} />
        <label class="field">
          <span>Reviewed</span>
          <select
            value={filter.reviewed ?? ''}
            onChange={({ currentTarget: { value } }) => ask({ reviewed: value })}
          >
            <option value="">All</option>
            <option value="false">Not yet</option>
            <option value="true">By me</option>
          </select>
        </label>
        <label class="field filters-wide">
          <span>From</span>
          <input
            type="datetime-local"
            value={localTime(filter.from)}
            onChange={({ currentTarget: { value } }) => ask({ from: value ? String(Date.parse(value)) : '' })}
          />
        </label>
        <label class="field filters-wide">
          <span>Before</span>
          <input
            type="datetime-local"
            value={localTime(filter.to)}
            onChange={({ currentTarget: { value } }) => ask({ to: value ? String(Date.parse(value)) : '' })}
          />
        </label>
        {isOpen ? (
          <>
            <label class="field">
              <span>Score at least</span>
              <input
                type="number"
                min="0"
                max="1"
                step="0.05"
                placeholder="0 to 1"
                value={filter.scoreMin ?? ''}
                onChange={({ currentTarget: { value } }) => ask({ scoreMin: value })}
              />
            </label>
            <label class="field">
              <span>Pixels at least</span>
              <input
                type="number"
                min="0"
                step="10"
                placeholder="e.g. 80"
                value={filter.sizeMin ?? ''}
                onChange={({ currentTarget: { value } }) => ask({ sizeMin: value })}
              />
            </label>
          </>
        ) : (
          <button type="button" class="link-button filters-more" onClick={() => setOpen(true)}>
            More filters
          </button>
        )}
        {filter.file && (
          <button type="button" class="chip" onClick={() => ask({ file: undefined })}>
            From the photo “{filter.file}” <span aria-hidden="true">×</span>
            <span class="visually-hidden">: remove this filter</span>
          </button>
        )}
        {filter.track && (
          <button type="button" class="chip" onClick={() => ask({ track: undefined })}>
            One track <span aria-hidden="true">×</span>
            <span class="visually-hidden">: remove this filter</span>
          </button>
        )}
        {!isEmpty(filter) && (
          <a class="filters-clear" href="/faces">
            Clear all
          </a>
        )}
      </form>
      {filter.from && Number.isNaN(timeOf(filter.from)) && <p class="muted">"{filter.from}" is no time.</p>}
      {filter.to && !Number.isNaN(timeOf(filter.to)) && (
        <p class="visually-hidden">Faces before {date(timeOf(filter.to))}</p>
      )}
    </search>
  )
}

/** By what classifiers and plugins have said; nothing where they have said nothing. */
function AttributeField({ filter: { attribute = '', attributeScoreMin = '' } }: { readonly filter: Filter }) {
  const known = useLoaded('known attributes', api.attributes)
  const items = known.value?.items ?? []
  const choose = (value: string) =>
    ask({ attribute: value, ...(value === '' && { attributeScoreMin: undefined }) })
  const all = items.flatMap(({ name, labels }) => [name, ...labels.map((label) => `${name}:${label}`)])
  if (all.length === 0 && attribute === '') return null
  return (
    <>
      {items.some(({ more }) => more) ? (
        // More than a list is for: it suggests, and takes any other.
        <label class="field">
          <span>Attribute</span>
          <input
            type="text"
            list="known-attributes"
            maxLength={129}
            placeholder="name or name:label"
            value={attribute}
            onChange={({ currentTarget: { value } }) => choose(value.trim())}
          />
          <datalist id="known-attributes">
            {all.map((value) => (
              <option key={value} value={value} />
            ))}
          </datalist>
        </label>
      ) : (
        <label class="field">
          <span>Attribute</span>
          <select value={attribute} onChange={({ currentTarget: { value } }) => choose(value)}>
            <option value="">All</option>
            {!all.includes(attribute) && attribute !== '' && <option value={attribute}>{attribute}</option>}
            {items.map(({ name, labels }) => (
              <optgroup key={name} label={name}>
                <option value={name}>{name}: any</option>
                {labels.map((label) => (
                  <option key={label} value={`${name}:${label}`}>
                    {name}: {label}
                  </option>
                ))}
              </optgroup>
            ))}
          </select>
        </label>
      )}
      {attribute !== '' && (
        <label class="field">
          <span>Sure of that at least, %</span>
          <input
            type="number"
            min="0"
            max="100"
            step="5"
            placeholder="e.g. 80"
            value={attributeScoreMin === '' ? '' : Math.round(Number(attributeScoreMin) * 100)}
            onChange={({ currentTarget: { value } }) =>
              ask({ attributeScoreMin: value === '' ? undefined : String(Number(value) / 100) })
            }
          />
        </label>
      )}
    </>
  )
}

/** As `datetime-local` takes it: the reader's own time, to the minute. */
function localTime(text: string | undefined): string {
  if (text === undefined) return ''
  const ms = timeOf(text)
  if (Number.isNaN(ms)) return ''
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000)
  return local.toISOString().slice(0, 16)
}
