import { useState } from 'preact/hooks'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { CameraIs } from '../parts/camera-state.tsx'
import type { Selection } from '../scenario-types.ts'
import { cameraKey, count } from '../words.ts'

/** Cameras by site, device and label, with a list of those that it comes to. */

const LABEL = /^[\p{L}\p{N}][\p{L}\p{N} _-]{0,39}$/u
type Lists = 'sites' | 'devices' | 'cameras'

export function Where({
  selection,
  change,
  covered,
}: {
  readonly selection: Selection
  readonly change: (selection: Selection) => void
  /** As the console says it; undefined: not yet. */
  readonly covered: readonly string[] | undefined
}) {
  const cameras = useLoaded('scenario cameras', api.cameras)
  const items = cameras.value?.items ?? []
  const { sites = [], devices = [], labels = [] } = selection
  const isAll = selection.all === true
  const known = [...new Set([...items.map(cameraKey), ...(selection.cameras ?? [])])]
  const knownDevices = [
    ...new Set([...known.map((path) => path.split('/').slice(0, 2).join('/')), ...devices]),
  ]
  const knownSites = [...new Set([...knownDevices.map((path) => path.split('/')[0] ?? ''), ...sites])].sort()
  const has = (list: Lists, name: string) => selection[list]?.includes(name) ?? false
  const toggle = (list: Lists, name: string) => {
    const next = has(list, name)
      ? (selection[list] ?? []).filter((one) => one !== name)
      : [...(selection[list] ?? []), name]
    change(without({ ...selection, [list]: next }))
  }
  return (
    <>
      <fieldset class="choices">
        <legend class="visually-hidden">Which cameras</legend>
        <label>
          <input
            type="radio"
            name="where"
            checked={isAll}
            onChange={() => change(without({ all: true, labels }))}
          />
          Every camera, also those that come later
        </label>
        <label>
          <input
            type="radio"
            name="where"
            checked={!isAll}
            onChange={() => change(without({ ...selection, all: undefined }))}
          />
          Only these
        </label>
        {!isAll && (
          <div class="places">
            {knownSites.length === 0 && <p class="muted">No camera is known yet.</p>}
            {knownSites.map((site) => (
              <div key={site}>
                <Place
                  label={site}
                  note="the whole site"
                  isOn={has('sites', site)}
                  toggle={() => toggle('sites', site)}
                />
                {knownDevices
                  .filter((path) => path.startsWith(`${site}/`))
                  .map((device) => (
                    <div key={device} class="place-device">
                      <Place
                        label={device.slice(site.length + 1)}
                        note="the whole device"
                        isOn={has('sites', site) || has('devices', device)}
                        isFixed={has('sites', site)}
                        toggle={() => toggle('devices', device)}
                      />
                      {known
                        .filter((path) => path.startsWith(`${device}/`))
                        .map((path) => (
                          <div key={path} class="place-device">
                            <Place
                              label={path.slice(device.length + 1)}
                              isOn={has('sites', site) || has('devices', device) || has('cameras', path)}
                              isFixed={has('sites', site) || has('devices', device)}
                              toggle={() => toggle('cameras', path)}
                            />
                          </div>
                        ))}
                    </div>
                  ))}
              </div>
            ))}
          </div>
        )}
      </fieldset>
      <Labels labels={labels} change={(next) => change(without({ ...selection, labels: next }))} />
      <div class="covered" role="status">
        {covered === undefined ? (
          <p class="muted">Looking which cameras these are …</p>
        ) : covered.length === 0 ? (
          <p class="note">No camera yet. Choose a site, a device or a camera.</p>
        ) : (
          <>
            <p>It applies to {count(covered.length, 'camera')} now:</p>
            <ul class="covered-list">
              {covered.map((path) => {
                const camera = items.find((it) => cameraKey(it) === path)
                const [site = '', device = '', name = ''] = path.split('/')
                return (
                  <li key={path}>
                    <a href={`/cameras/${path}`}>{name}</a>{' '}
                    <span class="muted">
                      {site} · {device}
                    </span>{' '}
                    {camera && <CameraIs camera={camera} />}
                  </li>
                )
              })}
            </ul>
          </>
        )}
      </div>
    </>
  )
}

/** Lists that are empty say nothing. */
function without(selection: Selection): Selection {
  return Object.fromEntries(
    Object.entries(selection).filter(
      ([, value]) => value !== undefined && value !== false && (!Array.isArray(value) || value.length > 0),
    ),
  )
}

function Place({
  label,
  note,
  isOn,
  isFixed = false,
  toggle,
}: {
  readonly label: string
  readonly note?: string
  readonly isOn: boolean
  readonly isFixed?: boolean
  readonly toggle: () => void
}) {
  return (
    <label>
      <input type="checkbox" checked={isOn} disabled={isFixed} onChange={toggle} />
      <span class="breaks">
        {note ? <strong>{label}</strong> : label} {note && <span class="muted">{note}</span>}
      </span>
    </label>
  )
}

function Labels({
  labels,
  change,
}: {
  readonly labels: readonly string[]
  readonly change: (labels: string[]) => void
}) {
  const [typed, setTyped] = useState('')
  const isWrong = typed !== '' && !LABEL.test(typed)
  const add = () => {
    if (!LABEL.test(typed)) return
    if (!labels.includes(typed)) change([...labels, typed])
    setTyped('')
  }
  return (
    <div class="labels">
      <label class="field">
        <span>Only those with one of these labels (labels are given on the page of a device)</span>
        <span class="labels-row">
          <input
            value={typed}
            maxLength={40}
            placeholder="entrance"
            aria-invalid={isWrong}
            onInput={({ currentTarget: { value } }) => setTyped(value)}
            onKeyDown={(event) => {
              if (event.key !== 'Enter') return
              event.preventDefault()
              add()
            }}
          />
          <button type="button" class="button" disabled={typed === '' || isWrong} onClick={add}>
            Add
          </button>
        </span>
      </label>
      {isWrong && <p class="field-wrong">Up to 40 letters, digits, spaces and dashes.</p>}
      {labels.length > 0 && (
        <p class="buttons">
          {labels.map((label) => (
            <button
              key={label}
              type="button"
              class="chip"
              aria-label={`Remove the label ${label}`}
              onClick={() => change(labels.filter((one) => one !== label))}
            >
              {label} ×
            </button>
          ))}
        </p>
      )}
    </div>
  )
}
