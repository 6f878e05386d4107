import { type Desired, digestOf, type Reported } from '../../wire/desired.ts'

/** A desired configuration as a console makes it. */
export function makeDesired(
  { site, device }: { readonly site: string; readonly device: string },
  version: number,
  content: unknown = {},
): Desired {
  return { v: 1, site, device, version, atMs: version, by: 'test', digest: digestOf(content), content }
}

/** What a device answers: it has one camera, and was told nothing yet. */
export const makeReported = (
  address: { readonly site: string; readonly device: string },
  settings: Partial<Reported> = {},
): Reported => ({
  v: 1,
  site: address.site,
  device: address.device,
  atMs: Date.now(),
  program: '0.1.0',
  understands: 1,
  applied: null,
  state: 'none',
  refused: null,
  allows: { cameras: true, streams: false, networks: [], signed: false },
  effective: { detect: { model: 'yunet' }, cameras: { door: { from: 'file', source: 'file' } } },
  ...settings,
})
