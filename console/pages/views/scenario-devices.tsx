import { useRef } from 'preact/hooks'
import type { Device } from '../device-types.ts'
import * as api from '../devices.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { DesiredIs } from '../parts/desired-state.tsx'
import { count } from '../words.ts'

/** A device that is slow says when it is done; this is for one whose word was missed. */
const REFRESH_MS = 10_000
const GATHER_MS = 300
/** Named one by one; the page of devices has them all. */
const NAMED_MAX = 5

/** Whether the devices of a published scenario have taken it up: those that have not are named. */
export function ScenarioDevices({ covered }: { readonly covered: readonly string[] }) {
  const devices = useLoaded('scenario devices', api.devices)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useNews('device', () => {
    clearTimeout(timer.current)
    timer.current = setTimeout(devices.again, GATHER_MS)
  })
  useEvery(REFRESH_MS, devices.again)
  const wanted = new Set(covered.map((path) => path.split('/').slice(0, 2).join('/')))
  const here = (devices.value?.items ?? []).filter(({ site, device }) => wanted.has(`${site}/${device}`))
  if (here.length === 0) return null
  const late = here.filter(({ desired }) => !isTaken(desired?.state))
  return (
    <ul class="scenario-devices" aria-label="Devices">
      {late.length < here.length && (
        <li>
          <span class="tone" data-tone="good">
            <span class="dot" />
            {late.length === 0
              ? `Taken up by ${count(here.length, 'device')}`
              : `Taken up by ${here.length - late.length} of ${count(here.length, 'device')}`}
          </span>
        </li>
      )}
      {late.slice(0, NAMED_MAX).map((device) => (
        <li key={`${device.site}/${device.device}`}>
          <a href={api.devicePage(device)}>{device.device}</a>{' '}
          <DesiredIs state={device.desired?.state ?? 'none'} isOnline={device.online} />
        </li>
      ))}
      {late.length > NAMED_MAX && (
        <li>
          <a href="/devices">and {count(late.length - NAMED_MAX, 'more device')}</a>
        </li>
      )}
    </ul>
  )
}

/** A scenario of rules alone changes nothing on a device. */
const isTaken = (state: NonNullable<Device['desired']>['state'] | undefined) =>
  state === undefined || state === 'none' || state === 'applied'
