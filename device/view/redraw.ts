import type { Size } from '../faces/crop.ts'
import type { Area } from './effect.ts'
import type { SeenFace } from './watcher.ts'

/** Who changes what viewers see beyond the camera's effect: plugins. A picture that was not changed is shown to nobody. */
export interface Redraw {
  /** By whom, as text; empty: nobody. A picture that others made, or nobody, is not shown any more. */
  redrawnBy(camera: string): string
  /** Why no picture can be shown at the moment, where that is known. */
  whyNotRedrawn(camera: string): string | undefined
  /** @param areas where faces are, were or may be. Rejects where the picture must not be shown. */
  redraw(
    camera: string,
    rgb: Uint8Array,
    size: Size,
    faces: readonly SeenFace[],
    areas: readonly Area[],
  ): Promise<Uint8Array>
}

/** Nobody does. */
export const NO_REDRAW: Redraw = {
  redrawnBy: () => '',
  whyNotRedrawn: () => undefined,
  redraw: async (_camera, rgb) => rgb,
}
