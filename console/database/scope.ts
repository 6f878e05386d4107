/** What a person may see: everything, or what these sites and these cameras (`site/device/camera`) have. */
export type Scope =
  | { readonly all: true }
  | { readonly all: false; readonly sites: readonly string[]; readonly cameras: readonly string[] }

export const EVERYTHING: Scope = { all: true }

/** As wire/users.ts has them. */
export const scopeOf = ({
  sites,
  cameras,
}: {
  readonly sites?: readonly string[]
  readonly cameras?: readonly string[]
}): Scope =>
  sites === undefined && cameras === undefined
    ? EVERYTHING
    : { all: false, sites: sites ?? [], cameras: cameras ?? [] }

/** Whether a camera is within it. */
export const inScope = (
  scope: Scope,
  { site, device, camera }: { readonly site: string; readonly device: string; readonly camera: string },
) => scope.all || scope.sites.includes(site) || scope.cameras.includes(`${site}/${device}/${camera}`)
