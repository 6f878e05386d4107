import { Dialog } from './dialog.tsx'

export function KeysHelp({
  keys,
  onClose,
}: {
  readonly keys: readonly (readonly [key: string, what: string])[]
  readonly onClose: () => void
}) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  )
}
