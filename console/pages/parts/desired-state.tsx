import type { DesiredState, Device } from '../device-types.ts'

/** How a device stands to what it shall be, in words. */

const TONES: Readonly<Record<DesiredState, 'good' | 'late' | 'bad' | 'quiet'>> = {
  none: 'quiet',
  pending: 'late',
  applying: 'late',
  applied: 'good',
  refused: 'bad',
  differs: 'bad',
}

export function DesiredIs({ state, isOnline }: { readonly state: DesiredState; readonly isOnline: boolean }) {
  return (
    <span class="tone" data-tone={TONES[state]}>
      <span class="dot" />
      {wordsOf(state, isOnline)}
    </span>
  )
}

function wordsOf(state: DesiredState, isOnline: boolean): string {
  switch (state) {
    case 'none':
      return 'As its own file says'
    case 'pending':
      return isOnline ? 'Waiting for its answer' : 'Waits until it is back'
    case 'applying':
      return 'Being applied'
    case 'applied':
      return 'Applied'
    case 'refused':
      return 'Refused'
    default:
      return 'Not as it should be'
  }
}

export function OnlineIs({ device: { online } }: { readonly device: Pick<Device, 'online'> }) {
  return (
    <span class="tone" data-tone={online ? 'good' : 'bad'}>
      <span class="dot" />
      {online ? 'Online' : 'Offline'}
    </span>
  )
}
