import type { CameraAddress } from '../../wire/topics.ts'

/** How much of a camera's recordings stays. */
export interface Limits {
  /** Infinity: for ever. */
  readonly ageMsMax: number
  /** Infinity: as many as there are. */
  readonly bytesMax: number
}

/** As it stands in the configuration. */
export interface RecordingsRetention {
  readonly ageMax: number
  readonly bytesMax?: number
  readonly cameras: readonly {
    readonly camera: string
    readonly ageMax?: number
    readonly bytesMax?: number
  }[]
}

/** Of the first of `cameras` that fits; what it does not say is as for all. */
export function limitsOf({ ageMax, bytesMax, cameras }: RecordingsRetention, address: CameraAddress): Limits {
  const own = cameras.find(({ camera }) => {
    const [site, device, name] = camera.split('/')
    const fits = (part: string | undefined, is: string) => part === '*' || part === is
    return fits(site, address.site) && fits(device, address.device) && fits(name, address.camera)
  })
  return {
    ageMsMax: own?.ageMax ?? ageMax,
    bytesMax: own?.bytesMax ?? bytesMax ?? Number.POSITIVE_INFINITY,
  }
}
