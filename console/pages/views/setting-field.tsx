import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import { type Setting, valueWords } from '../device-settings.ts'

/** A setting in a form. What is left open is not set here: then the device's file says it, or a scenario. */
export function SettingField({
  setting,
  value,
  now,
  onChange,
}: {
  readonly setting: Setting
  /** undefined: not set here. */
  readonly value: unknown
  /** As it holds, where that is known. */
  readonly now: unknown
  readonly onChange: (value: unknown) => void
}) {
  const id = useId()
  const { kind, title, hint } = setting
  const open = now === undefined ? 'not set here' : `not set here: ${valueWords(setting, now).toLowerCase()}`
  const common = { id, 'aria-describedby': hint ? `${id}-hint` : undefined }
  return (
    <Field id={id} title={title} unit={kind.is === 'number' ? kind.unit : undefined} hint={hint}>
      {kind.is === 'switch' ? (
        <select
          {...common}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget: { value: chosen } }) =>
            onChange(chosen === '' ? undefined : chosen === 'true')
          }
        >
          <option value="">({open})</option>
          <option value="true">yes</option>
          <option value="false">no</option>
        </select>
      ) : kind.is === 'choice' ? (
        <select
          {...common}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget: { value: chosen } }) =>
            onChange(kind.options.find(([option]) => String(option) === chosen)?.[0])
          }
        >
          <option value="">({open})</option>
          {kind.options.map(([option, words]) => (
            <option key={option} value={String(option)}>
              {words}
            </option>
          ))}
        </select>
      ) : kind.is === 'share' ? (
        <Share common={common} auto={kind.auto ?? false} value={value} open={open} onChange={onChange} />
      ) : kind.is === 'rate' ? (
        <input
          {...common}
          inputMode="decimal"
          pattern="unlimited|[0-9]+([.][0-9]+)?"
          title="A number, or unlimited"
          placeholder={open}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget: { value: text } }) =>
            onChange(text === '' ? undefined : text === 'unlimited' ? text : asNumber(text))
          }
        />
      ) : kind.is === 'number' ? (
        <input
          {...common}
          type="number"
          min={kind.min}
          max={kind.max}
          step={kind.step ?? 1}
          placeholder={open}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget: { value: text } }) =>
            onChange(text === '' ? undefined : asNumber(text))
          }
        />
      ) : (
        <input
          {...common}
          maxLength={20}
          pattern={kind.is === 'duration' ? '[0-9]+([.][0-9]+)?(ms|s|m|h|d)' : undefined}
          title={kind.is === 'duration' ? 'A duration, such as 500ms, 5s or 2m' : undefined}
          placeholder={open}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget: { value: text } }) =>
            onChange(text.trim() === '' ? undefined : text.trim())
          }
        />
      )}
    </Field>
  )
}

/** What is no number stays as it is: the form says so, and is not sent. */
const asNumber = (text: string) => (Number.isFinite(Number(text)) ? Number(text) : text)

function Share({
  common,
  auto,
  value,
  open,
  onChange,
}: {
  readonly common: { readonly id: string }
  readonly auto: boolean
  readonly value: unknown
  readonly open: string
  readonly onChange: (value: unknown) => void
}) {
  const isOwn = typeof value === 'number'
  return (
    <span class="setting-pair">
      <select
        {...common}
        value={value === undefined ? '' : isOwn ? 'own' : 'auto'}
        onChange={({ currentTarget: { value: chosen } }) =>
          onChange(chosen === '' ? undefined : chosen === 'auto' ? 'auto' : 0.5)
        }
      >
        <option value="">({open})</option>
        {auto && <option value="auto">automatic</option>}
        <option value="own">a share of its own</option>
      </select>
      {isOwn && (
        <>
          <input
            type="number"
            min="0"
            max="100"
            step="1"
            required
            aria-label="Percent"
            value={String(Math.round(value * 100))}
            onChange={({ currentTarget: { value: text } }) => onChange(Number(text) / 100)}
          />
          <span class="muted">%</span>
        </>
      )}
    </span>
  )
}

function Field({
  id,
  title,
  unit,
  hint,
  children,
}: {
  readonly id: string
  readonly title: string
  readonly unit: string | undefined
  readonly hint: string | undefined
  readonly children: ComponentChildren
}) {
  return (
    <div class="field">
      <label for={id}>
        {title}
        {unit && <span class="muted"> ({unit})</span>}
      </label>
      {children}
      {hint && (
        <small id={`${id}-hint`} class="muted">
          {hint}
        </small>
      )}
    </div>
  )
}
