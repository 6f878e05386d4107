import { useState } from 'preact/hooks'
import { isSame, type Setting, valueAt, valueWords, withValue } from '../device-settings.ts'
import type { DeviceDesired, DeviceDocument } from '../device-types.ts'
import { useAsOpened } from '../parts/as-opened.ts'
import { DialogForm } from '../parts/dialog-form.tsx'
import { SettingField } from './setting-field.tsx'

/** The model that finds faces, of all cameras of a device. */

const MODEL: Setting = { path: ['model'], title: 'Model', kind: { is: 'text' } }
const SETTINGS: readonly Setting[] = [
  {
    path: ['scoreMin'],
    title: 'A face counts from',
    hint: 'Of every camera that does not say otherwise.',
    kind: { is: 'share', auto: true },
  },
  {
    path: ['sizeMin'],
    title: 'Smallest face',
    kind: { is: 'number', min: 0, max: 65_535, unit: 'pixels' },
  },
]

export function DetectorIs({ is }: { readonly is: DeviceDesired }) {
  const now = is.reported?.effective.detect
  const wanted = is.desired?.content.detect
  return (
    <dl class="facts">
      {[MODEL, ...SETTINGS].map((setting) => {
        const holds = valueAt(now, setting.path)
        const shall = valueAt(wanted, setting.path)
        return [
          <dt key={setting.title}>{setting.title}</dt>,
          <dd key={`${setting.title} value`}>
            {valueWords(setting, holds)}
            {shall !== undefined && !isSame(holds, shall) && (
              <span class="note">Shall be {valueWords(setting, shall)}</span>
            )}
          </dd>,
        ]
      })}
    </dl>
  )
}

export function DetectorForm({
  is,
  onClose,
  ...latest
}: {
  readonly is: DeviceDesired
  readonly document: DeviceDocument
  readonly save: (next: DeviceDocument, done: string) => Promise<void>
  readonly onClose: () => void
}) {
  const { document, save } = useAsOpened(latest)
  const [detect, setDetect] = useState(document.content.detect ?? {})
  const now = is.reported?.effective.detect
  const classifiers = new Set(is.reported?.classifiers)
  const byAddress = (document.content.models ?? []).filter(({ classify }) => !classify)
  const models = [...(is.reported?.models ?? []), ...byAddress.map(({ name }) => name)].filter(
    (model) => !classifiers.has(model),
  )
  async function act(): Promise<void> {
    const { detect: _before, ...content } = document.content
    const next = Object.keys(detect).length === 0 ? content : { ...content, detect }
    await save({ ...document, content: next }, 'The detector was saved.')
  }
  return (
    <DialogForm title="Detector" submit="Save, and tell the device" act={act} onClose={onClose}>
      {models.length > 0 ? (
        <label class="field">
          <span>Model</span>
          <select
            value={detect.model ?? ''}
            onChange={({ currentTarget: { value } }) =>
              setDetect((old) => withValue(old, ['model'], value === '' ? undefined : value))
            }
          >
            <option value="">(not set here{now ? `: ${now.model}` : ''})</option>
            {[...new Set([...models, ...(detect.model ? [detect.model] : [])])].map((model) => (
              <option key={model} value={model}>
                {model}
              </option>
            ))}
          </select>
        </label>
      ) : (
        <SettingField
          setting={{
            ...MODEL,
            hint: 'By its name in the catalogue. The device has not said which it has.',
          }}
          value={detect.model}
          now={now?.model}
          onChange={(value) => setDetect((old) => withValue(old, ['model'], value))}
        />
      )}
      {SETTINGS.map((setting) => (
        <SettingField
          key={setting.title}
          setting={setting}
          value={valueAt(detect, setting.path)}
          now={valueAt(now, setting.path)}
          onChange={(value) => setDetect((old) => withValue(old, setting.path, value))}
        />
      ))}
      <p class="muted">
        The device loads the model before it uses it, and goes on with its own if that fails.
      </p>
    </DialogForm>
  )
}
