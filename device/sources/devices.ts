import { readdirSync } from 'node:fs'

/** Which V4L2 cameras this machine has, as a sentence. */
export function videoDevices(): string {
  let names: string[] = []
  try {
    names = readdirSync('/dev').filter((name) => /^video\d+$/.test(name))
  } catch {
    // no /dev: no cameras
  }
  const sorted = names.sort((a, b) => Number(a.slice(5)) - Number(b.slice(5))).slice(0, 16)
  return sorted.length === 0
    ? 'This machine has no /dev/video*.'
    : `There are: ${sorted.map((name) => `/dev/${name}`).join(', ')}.`
}
