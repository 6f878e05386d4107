import { useRef } from 'preact/hooks'
import { pathWords } from '../device-settings.ts'
import type { Device } from '../device-types.ts'
import * as api from '../devices.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { DesiredIs, OnlineIs } from '../parts/desired-state.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { ask, place } from '../router.ts'
import { style } from '../styles.ts'
import { count } from '../words.ts'

await style('devices.css')

/** Devices: whether they are there, and whether they are as they should be. */

const REFRESH_MS = 5000
/** Two hundred that answer at once are one look. */
const GATHER_MS = 400

const SHOWN = [
  ['', 'All'],
  ['wrong', 'Not as they should be'],
  ['offline', 'Offline'],
] as const

const isWrong = ({ desired }: Device) =>
  desired !== undefined && desired.state !== 'applied' && desired.state !== 'none'

export default function DevicesPage() {
  const devices = useLoaded('devices', (signal) => api.devices(signal))
  useEvery(REFRESH_MS, devices.again)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useNews('device', () => {
    clearTimeout(timer.current)
    timer.current = setTimeout(devices.again, GATHER_MS)
  })
  useNews('reset', devices.again)
  const shown = place.value.query.get('show') ?? ''
  const all = devices.value?.items ?? []
  const wrong = all.filter(isWrong).length
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Devices</h1>
          <p class="page-sub">
            {all.length === 0
              ? 'What your devices shall be, and what they say that they are.'
              : `${count(all.length, 'device')}, ${all.filter(({ online }) => online).length} online, ${wrong === 0 ? 'all as they should be' : `${wrong} not as they should be`}`}
          </p>
        </div>
        <fieldset class="switch">
          <legend class="visually-hidden">Show</legend>
          {SHOWN.map(([value, title]) => (
            <button
              key={value}
              type="button"
              aria-pressed={value === shown}
              onClick={() => ask({ show: value })}
            >
              {title}
            </button>
          ))}
        </fieldset>
      </header>
      <Shown of={devices} waiting={<Waiting rows={4} />}>
        {({ items }) => {
          const those = items.filter(
            (it) => (shown !== 'wrong' || isWrong(it)) && (shown !== 'offline' || !it.online),
          )
          if (items.length === 0)
            return (
              <Empty title="No devices yet.">
                A device appears here as soon as it connects to its broker. Start one with{' '}
                <code>sightline device</code>.
              </Empty>
            )
          if (those.length === 0)
            return (
              <Empty
                title={shown === 'wrong' ? 'All devices are as they should be.' : 'All devices are online.'}
              >
                <a href="/devices">Show all devices</a>
              </Empty>
            )
          return bySite(those).map(([site, ofSite]) => (
            <section key={site} aria-label={site}>
              <h2 class="devices-site">{site}</h2>
              <ul class="cards">
                {ofSite.map((device) => (
                  <li key={device.device}>
                    <DeviceCard device={device} />
                  </li>
                ))}
              </ul>
            </section>
          ))
        }}
      </Shown>
    </div>
  )
}

function DeviceCard({ device }: { readonly device: Device }) {
  const { desired } = device
  return (
    <a class="card device" href={api.devicePage(device)} data-state={desired?.state}>
      <span class="card-text">
        <strong class="device-name">{device.device}</strong>
        <span class="muted device-line">
          {count(device.cameras.length, 'camera')}
          {device.cameras.length > 0 && `: ${device.cameras.join(', ')}`}
        </span>
        {desired?.refused && (
          <span class="note device-why">
            {desired.refused.path.length > 0 && <strong>{pathWords(desired.refused.path)}: </strong>}
            {desired.refused.message}
          </span>
        )}
      </span>
      <span class="device-side">
        <OnlineIs device={device} />
        {desired && <DesiredIs state={desired.state} isOnline={device.online} />}
        <span class="muted device-line">
          {desired?.program ? `version ${desired.program}` : 'has never answered'}
          {desired?.reportedAtMs != null && (
            <>
              , <When atMs={desired.reportedAtMs} />
            </>
          )}
        </span>
      </span>
    </a>
  )
}

function bySite(devices: readonly Device[]): readonly (readonly [string, readonly Device[]])[] {
  const sites = Map.groupBy(
    devices.toSorted((a, b) => (a.device < b.device ? -1 : 1)),
    ({ site }) => site,
  )
  return [...sites].toSorted(([a], [b]) => (a < b ? -1 : 1))
}
