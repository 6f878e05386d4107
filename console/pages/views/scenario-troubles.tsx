import type { Trouble } from '../scenario-types.ts'

/** Problems of a document beside what they are about. */

export const isAt = ({ path }: Trouble, at: readonly (string | number)[]) =>
  at.every((step, index) => String(path[index]) === String(step))

export const under = (troubles: readonly Trouble[], ...at: readonly (string | number)[]) =>
  troubles.filter((trouble) => isAt(trouble, at))

/** Those that no field below shows: their next step is none of these. */
export const besides = (
  troubles: readonly Trouble[],
  at: readonly (string | number)[],
  shown: readonly string[],
) => troubles.filter((trouble) => isAt(trouble, at) && !shown.includes(String(trouble.path[at.length] ?? '')))

const KINDS = { error: 'Wrong', conflict: 'Conflict', warning: 'Mind' } as const

export function Troubles({ of, id }: { readonly of: readonly Trouble[]; readonly id?: string }) {
  if (of.length === 0) return null
  return (
    <ul class="troubles" id={id}>
      {of.map(({ kind, message }, index) => (
        <li key={index} class="trouble" data-kind={kind}>
          <strong>{KINDS[kind]}:</strong> {message}
        </li>
      ))}
    </ul>
  )
}
