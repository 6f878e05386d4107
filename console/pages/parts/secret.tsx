import { useState } from 'preact/hooks'

/** Something that is shown once. */
export function Secret({ label, text }: { readonly label: string; readonly text: string }) {
  const [isCopied, setCopied] = useState(false)
  return (
    <div class="secret">
      <label class="field">
        <span>{label}</span>
        <input readOnly class="mono" value={text} onFocus={({ currentTarget }) => currentTarget.select()} />
      </label>
      <button
        type="button"
        class="button button-strong"
        onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
      >
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </div>
  )
}
