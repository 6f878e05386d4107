import { useRef } from 'preact/hooks'
import { pathWords } from '../device-settings.ts'
import * as api from '../devices.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import { DesiredIs } from '../parts/desired-state.tsx'
import { may } from '../session.ts'

const REFRESH_MS = 20_000
const GATHER_MS = 1000

/** Devices that refuse what they shall be, or are otherwise; nothing where there are none. */
export function DevicesThatRefused() {
  const devices = useLoaded('refused', (signal) =>
    may('scenarios') || may('flow') ? api.devices(signal) : Promise.resolve({ items: [] }),
  )
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useNews('device', () => {
    clearTimeout(timer.current)
    timer.current = setTimeout(devices.again, GATHER_MS)
  })
  useEvery(REFRESH_MS, devices.again)
  const wrong = (devices.value?.items ?? []).filter(
    // Who sees what is wrong with programs has those that refuse among it.
    ({ desired }) => desired?.state === 'differs' || (desired?.state === 'refused' && !may('flow')),
  )
  if (wrong.length === 0) return null
  return (
    <ul class="needs needs-more" aria-label="Devices">
      {wrong.map((device) => (
        <li key={`${device.site}/${device.device}`}>
          <a class="need" href={api.devicePage(device)}>
            <DesiredIs state={device.desired?.state ?? 'none'} isOnline={device.online} />
            <span class="need-what">
              <strong>{device.device}</strong> <span class="muted">{device.site}</span>
              {device.desired?.refused && (
                <span class="need-why">
                  {device.desired.refused.path.length > 0 && `${pathWords(device.desired.refused.path)}: `}
                  {device.desired.refused.message}
                </span>
              )}
            </span>
          </a>
        </li>
      ))}
    </ul>
  )
}
