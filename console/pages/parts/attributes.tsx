import type { Detection } from '../../api/detections.ts'
import { share } from '../words.ts'

/** What classifiers and plugins say of a face. Names and labels are theirs: text, in whatever direction it is written. */

type Attribute = Detection['attributes'][number]

/** On a tile there is room for so many. */
const ON_TILE_MAX = 2

/** `mask: with mask` */
export const attributeWords = ({ name, label }: Pick<Attribute, 'name' | 'label'>) => `${name}: ${label}`

/** The surest ones, for a tile. */
export function AttributesOnTile({ attributes }: { readonly attributes: readonly Attribute[] }) {
  if (attributes.length === 0) return null
  const surest = attributes.toSorted((a, b) => b.score - a.score)
  const left = surest.length - ON_TILE_MAX
  return (
    <span class="face-attributes" title={surest.map(spoken).join('\n')}>
      {surest.slice(0, ON_TILE_MAX).map((one, index) => (
        <bdi key={index}>{attributeWords(one)}</bdi>
      ))}
      {left > 0 && <span>and {left} more</span>}
    </span>
  )
}

/** `mask: with mask (97 %)` */
export const spoken = (one: Attribute) => `${attributeWords(one)} (${share(one.score)})`
