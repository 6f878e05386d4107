import type { ComponentChildren } from 'preact'

/** Drawn in lines, in the colour of the text beside them, which says the same: screen readers pass them over. */

function Icon({ children }: { readonly children: ComponentChildren }) {
  return (
    <svg
      class="icon"
      viewBox="0 0 24 24"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  )
}

export const icons = {
  overview: () => (
    <Icon>
      <path d="M3 12c3-4.5 6-6.5 9-6.5s6 2 9 6.5c-3 4.5-6 6.5-9 6.5S6 16.5 3 12Z" />
      <circle cx="12" cy="12" r="3" />
    </Icon>
  ),
  faces: () => (
    <Icon>
      <path d="M4 8V5a1 1 0 0 1 1-1h3M16 4h3a1 1 0 0 1 1 1v3M20 16v3a1 1 0 0 1-1 1h-3M8 20H5a1 1 0 0 1-1-1v-3" />
      <circle cx="12" cy="10.5" r="2.8" />
      <path d="M7.5 17c.8-2 2.5-3 4.5-3s3.7 1 4.5 3" />
    </Icon>
  ),
  cameras: () => (
    <Icon>
      <rect x="3" y="7" width="12" height="10" rx="2" />
      <path d="m15 11 6-3v8l-6-3" />
    </Icon>
  ),
  recordings: () => (
    <Icon>
      <rect x="3" y="4.500" width="18" height="11" rx="2" />
      <path d="M10.500 7.700v4.600l4-2.300zM3 19.500h18M9 17.800v3.400" />
    </Icon>
  ),
  streams: () => (
    <Icon>
      <circle cx="12" cy="12" r="2" />
      <path d="M8.200 15.800a5.400 5.400 0 0 1 0-7.600M15.800 8.200a5.400 5.400 0 0 1 0 7.600M5.300 18.700a9.500 9.500 0 0 1 0-13.400M18.700 5.300a9.500 9.500 0 0 1 0 13.400" />
    </Icon>
  ),
  publish: () => (
    <Icon>
      <rect x="7" y="2.5" width="10" height="19" rx="2" />
      <path d="M12 16V8M9 11l3-3 3 3M11 19h2" />
    </Icon>
  ),
  charts: () => (
    <Icon>
      <path d="M4 20h16M7 16v-4M12 16V6M17 16v-7" />
    </Icon>
  ),
  flow: () => (
    <Icon>
      <circle cx="5" cy="6" r="2" />
      <circle cx="5" cy="18" r="2" />
      <circle cx="19" cy="12" r="2" />
      <path d="M7 6h3c3 0 3 6 7 6M7 18h3c3 0 3-6 7-6" />
    </Icon>
  ),
  notices: () => (
    <Icon>
      <path d="M6 16.500V11a6 6 0 0 1 12 0v5.500l1.500 1.500h-15zM10 20.500a2.200 2.200 0 0 0 4 0" />
    </Icon>
  ),
  channels: () => (
    <Icon>
      <path d="m21 4-9.500 16-2.500-7-6-3.500zM9 13l12-9" />
    </Icon>
  ),
  devices: () => (
    <Icon>
      <rect x="6" y="6" width="12" height="12" rx="2" />
      <path d="M9.500 9.500h5v5h-5zM9 6V3M15 6V3M9 21v-3M15 21v-3M6 9H3M6 15H3M21 9h-3M21 15h-3" />
    </Icon>
  ),
  health: () => (
    <Icon>
      <path d="M3 12h4l2.5-6 4 12 2.5-6h5" />
    </Icon>
  ),
  people: () => (
    <Icon>
      <circle cx="9" cy="9" r="3" />
      <path d="M3.5 19c.6-3 2.7-4.5 5.5-4.500s4.9 1.5 5.5 4.500M15 6.300a3 3 0 0 1 0 5.400M17 14.900c1.9.6 3.1 2 3.5 4.1" />
    </Icon>
  ),
  api: () => (
    <Icon>
      <path d="m8 8-4 4 4 4M16 8l4 4-4 4M13.5 5l-3 14" />
    </Icon>
  ),
  more: () => (
    <Icon>
      <path d="M4 7h16M4 12h16M4 17h16" />
    </Icon>
  ),
  check: () => (
    <Icon>
      <path d="m5 12.5 4.5 4.500L19 7.5" />
    </Icon>
  ),
  play: () => (
    <Icon>
      <path d="M8 5.500v13l10.500-6.500z" fill="currentColor" />
    </Icon>
  ),
  pause: () => (
    <Icon>
      <path d="M8.500 6v12M15.500 6v12" stroke-width="3" />
    </Icon>
  ),
  faceBefore: () => (
    <Icon>
      <circle cx="15" cy="9.500" r="3" />
      <path d="M9.500 18.500c.8-2.700 2.800-4 5.500-4s4.700 1.300 5.500 4M7.500 7l-4 4 4 4" />
    </Icon>
  ),
  faceAfter: () => (
    <Icon>
      <circle cx="9" cy="9.500" r="3" />
      <path d="M3.500 18.500c.8-2.700 2.800-4 5.500-4s4.700 1.300 5.500 4M16.500 7l4 4-4 4" />
    </Icon>
  ),
  sound: () => (
    <Icon>
      <path d="M4 9.500v5h3.500l4.500 4v-13l-4.500 4zM15.500 9a4 4 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11" />
    </Icon>
  ),
  mute: () => (
    <Icon>
      <path d="M4 9.500v5h3.500l4.500 4v-13l-4.500 4zM16 9.500l5 5M21 9.500l-5 5" />
    </Icon>
  ),
  closer: () => (
    <Icon>
      <circle cx="11" cy="11" r="6" />
      <path d="m15.500 15.500 4.500 4.500M11 8.500v5M8.500 11h5" />
    </Icon>
  ),
  wider: () => (
    <Icon>
      <circle cx="11" cy="11" r="6" />
      <path d="m15.500 15.500 4.500 4.500M8.500 11h5" />
    </Icon>
  ),
  left: () => (
    <Icon>
      <path d="m14.5 5-7 7 7 7" />
    </Icon>
  ),
  right: () => (
    <Icon>
      <path d="m9.5 5 7 7-7 7" />
    </Icon>
  ),
  scenarios: () => (
    <Icon>
      <path d="M12 3v3M12 18v3M3 12h3M18 12h3" />
      <circle cx="12" cy="12" r="6" />
      <path d="M12 9v3l2 1.500" />
    </Icon>
  ),
  zone: () => (
    <Icon>
      <path d="M5 7l8-3 6 6-3 9-10-2z" />
      <circle cx="12" cy="11.500" r="1.600" />
    </Icon>
  ),
  mask: () => (
    <Icon>
      <circle cx="12" cy="11" r="7" />
      <path d="M5.500 11.500c4 1.500 9 1.500 13 0M9 9h.010M15 9h.010M9.500 14.500h5" />
    </Icon>
  ),
}
export type IconName = keyof typeof icons
