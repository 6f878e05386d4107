export type WhoseValue = 'mine' | 'all'

export function Whose({
  whose,
  choose,
}: {
  readonly whose: WhoseValue
  readonly choose: (whose: WhoseValue) => void
}) {
  return (
    <fieldset class="switch">
      <legend class="visually-hidden">Whose</legend>
      <button type="button" aria-pressed={whose === 'mine'} onClick={() => choose('mine')}>
        Mine
      </button>
      <button type="button" aria-pressed={whose === 'all'} onClick={() => choose('all')}>
        Everybody's
      </button>
    </fieldset>
  )
}
