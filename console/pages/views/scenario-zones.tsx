import { useState } from 'preact/hooks'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { LastPicture } from '../parts/last-picture.tsx'
import { say } from '../parts/said.tsx'
import { ScenePicture, useLiveChoice } from '../parts/scene-picture.tsx'
import { ZoneEditor } from '../parts/zone-editor.tsx'
import { freeName } from '../parts/zone-shape.ts'
import type { ScenarioDocument, Trouble, Zone } from '../scenario-types.ts'
import { cameraKey } from '../words.ts'
import { besides, Troubles, under } from './scenario-troubles.tsx'

/** Zones on the cameras that the scenario covers: each camera's own, and those that are on every one. */

export function Zones({
  document,
  set,
  covered,
  problems,
}: {
  readonly document: ScenarioDocument
  readonly set: (change: Partial<ScenarioDocument>) => void
  readonly covered: readonly string[]
  readonly problems: readonly Trouble[]
}) {
  const cameras = useLoaded('zones cameras', api.cameras)
  const [chosen, setChosen] = useState<string | undefined>(undefined)
  const { zones } = document
  // Also those that are not covered any more, so that what is drawn on them can be seen and taken away.
  const paths = [...new Set([...covered, ...zones.flatMap(({ camera }) => camera ?? [])])].sort()
  const known = new Map((cameras.value?.items ?? []).map((camera) => [cameraKey(camera), camera]))
  // Whoever has not chosen yet begins where there is something to draw on.
  const first = paths.find((one) => known.get(one)?.is === 'live') ?? paths[0]
  const path = chosen !== undefined && paths.includes(chosen) ? chosen : first
  const camera = path === undefined ? undefined : known.get(path)
  const { isLive, button } = useLiveChoice(camera)
  if (path === undefined)
    return <p class="note">Choose cameras under “Where” first: zones are drawn on their pictures.</p>
  const isHere = (zone: Zone) => zone.camera === undefined || zone.camera === path
  const here = zones.filter(isHere)
  const countOf = (of: string) => zones.filter((zone) => zone.camera === of).length
  return (
    <>
      {paths.length > 1 && (
        <ul class="camera-strip" aria-label="Camera to draw on">
          {paths.map((one) => {
            const it = known.get(one)
            return (
              <li key={one}>
                <button
                  type="button"
                  class="camera-choice"
                  aria-pressed={one === path}
                  onClick={() => setChosen(one)}
                >
                  {it ? <LastPicture camera={{ ...it, newest: null }} /> : <span class="screen" />}
                  <span class="camera-choice-name">{one.split('/')[2]}</span>
                  <span class="muted">
                    {countOf(one) === 0 ? 'no zones of its own' : `${countOf(one)} of its own`}
                  </span>
                </button>
              </li>
            )
          })}
        </ul>
      )}
      {!covered.includes(path) && (
        <p class="note">The scenario does not cover this camera: its zones here do nothing.</p>
      )}
      <div class="zones-head">
        <strong class="breaks">{path.replaceAll('/', ' · ')}</strong>
        {button}
      </div>
      <ZoneEditor<Zone>
        key={path}
        picture={camera ? <ScenePicture camera={camera} isLive={isLive} /> : <Blank />}
        zones={here}
        make={(zone) => ({ camera: path, name: zone.name, points: zone.points })}
        onChange={(next) => {
          // In their places, so that what is said about the fifth zone stays about it.
          const queue = [...next]
          const isSame = next.length === here.length
          set({
            zones: isSame
              ? zones.map((zone) => (isHere(zone) ? (queue.shift() ?? zone) : zone))
              : [...zones.filter((zone) => !isHere(zone)), ...next],
          })
        }}
        onNames={(before, now) => set(renamed(document, before, now))}
        more={(zone, change) => (
          <div class="zone-more">
            <label class="field">
              <span>It is on</span>
              <select
                value={zone.camera === undefined ? 'all' : 'one'}
                onChange={({ currentTarget: { value } }) => {
                  const { camera: _gone, ...rest } = zone
                  change(value === 'all' ? rest : { ...rest, camera: path })
                }}
              >
                <option value="one">this camera</option>
                <option value="all">every camera of the scenario</option>
              </select>
            </label>
            {zone.camera !== undefined && paths.length > 1 && (
              <label class="field">
                <span>Copy it to</span>
                <select
                  value=""
                  onChange={({ currentTarget }) => {
                    const to = currentTarget.value
                    currentTarget.value = ''
                    if (to === '') return
                    const taken = zones.filter((it) => it.camera === undefined || it.camera === to)
                    const name = freeName(
                      zone.name,
                      taken.map((it) => it.name),
                    )
                    set({ zones: [...zones, { ...zone, name, camera: to }] })
                    say(`${name} is now on ${to.split('/')[2]} too.`)
                  }}
                >
                  <option value="">another camera …</option>
                  {paths
                    .filter((one) => one !== path)
                    .map((one) => (
                      <option key={one} value={one}>
                        {one}
                      </option>
                    ))}
                </select>
              </label>
            )}
            <Troubles of={under(problems, 'zones', zones.indexOf(zone))} />
          </div>
        )}
      />
      <Troubles
        of={besides(
          problems,
          ['zones'],
          here.map((zone) => String(zones.indexOf(zone))),
        )}
      />
    </>
  )
}

/** Rules that ask for a zone ask for it by its new name. */
function renamed(document: ScenarioDocument, before: string, now: string): Partial<ScenarioDocument> {
  const isElsewhere = document.zones.filter(({ name }) => name === before).length > 1
  const zones = document.zones.map((zone) => (zone.name === before ? { ...zone, name: now } : zone))
  if (isElsewhere) return {}
  return {
    zones,
    rules: document.rules.map((rule) =>
      rule.conditions.zones?.includes(before)
        ? {
            ...rule,
            conditions: {
              ...rule.conditions,
              zones: rule.conditions.zones.map((name) => (name === before ? now : name)),
            },
          }
        : rule,
    ),
  }
}

const Blank = () => (
  <div class="screen">
    <p class="screen-said">There is no picture of this camera.</p>
  </div>
)
