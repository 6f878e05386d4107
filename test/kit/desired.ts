import { type Desired, digestOf } from '../../wire/desired.ts'

/** A desired configuration as a console makes it. */
export function makeDesired(
  { site, device }: { readonly site: string; readonly device: string },
  version: number,
  content: unknown = {},
): Desired {
  return { v: 1, site, device, version, atMs: version, by: 'test', digest: digestOf(content), content }
}
