export interface Label {
  /** Left, top, width, height, pixels. */
  readonly box: readonly number[]
  readonly width: number
  readonly height: number
}

export function placeLabels(
  labels: readonly Label[],
  area: { readonly width: number; readonly height: number },
): ({ readonly left: number; readonly top: number } | undefined)[]
