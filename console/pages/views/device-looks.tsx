import { useState } from 'preact/hooks'
import { isSame } from '../device-settings.ts'
import type { DeviceDesired, DeviceDocument } from '../device-types.ts'
import type { ByAddress, Look } from '../look-types.ts'
import { useAsOpened } from '../parts/as-opened.ts'
import { DialogForm } from '../parts/dialog-form.tsx'
import { LookList } from '../parts/look-list.tsx'
import { ModelList } from '../parts/model-list.tsx'
import { share } from '../words.ts'

/** Second looks of a device, and the models that it is brought for them. */

export function LooksAre({ is }: { readonly is: DeviceDesired }) {
  const holds = is.reported?.effective.process ?? []
  const wanted = is.desired?.content.process ?? []
  const models = is.desired?.content.models ?? []
  const names = [...new Set([...holds, ...wanted].map(({ name }) => name))]
  if (names.length + models.length === 0) return <p class="muted">None: faces are sent as they were found.</p>
  return (
    <dl class="facts">
      {names.map((name) => {
        const now = holds.find((it) => it.name === name)
        const shall = wanted.find((it) => it.name === name)
        const isOther = shall !== undefined && (!now || !isSame(now.model, shall.model))
        return [
          <dt key={name}>{name}</dt>,
          <dd key={`${name} value`}>
            {now === undefined ? (
              <span class="muted">not there yet</span>
            ) : now.kind === 'plugin' ? (
              "a plugin of the device's file"
            ) : (
              <>
                {String(now.model ?? '')}
                {typeof now.scoreMin === 'number' && `, from ${share(now.scoreMin)}`}
                {now.from === 'file' && <span class="muted"> (of the device's file)</span>}
              </>
            )}
            {isOther && <span class="note">Shall be {shall.model}</span>}
          </dd>,
        ]
      })}
      {models.length > 0 && (
        <>
          <dt>Models by address</dt>
          <dd class="breaks">
            {models
              .map(({ name, sources: [first = ''] }) => `${name} (${first.replace(/\?.*$/s, '')})`)
              .join(', ')}
          </dd>
        </>
      )}
    </dl>
  )
}

export function LooksForm({
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
  const [looks, setLooks] = useState<readonly Look[]>(document.content.process ?? [])
  const [models, setModels] = useState<readonly ByAddress[]>(document.content.models ?? [])
  const { reported } = is
  const known = [...(reported?.classifiers ?? []), ...(reported?.models ?? [])]
  const mayBring = reported?.allows.models ?? false
  async function act(): Promise<void> {
    const { process: _process, models: _models, ...content } = document.content
    const next = {
      ...content,
      ...(looks.length > 0 && { process: [...looks] }),
      ...(models.length > 0 && { models: [...models] }),
    }
    await save({ ...document, content: next }, 'The second looks were saved.')
  }
  return (
    <DialogForm title="Second looks" wide submit="Save, and tell the device" act={act} onClose={onClose}>
      <p class="muted">
        Each looks at a face again before its picture is sent, and says what it tells: with or without a mask,
        for instance. The device loads the models before it uses them, and goes on as it was if that fails.
      </p>
      <LookList looks={looks} models={[...models.map(({ name }) => name), ...known]} change={setLooks} />
      <h3>Models by address</h3>
      {mayBring || models.length > 0 ? (
        <>
          <p class="muted">
            Fetched by the device itself and checked against their SHA-256. They may be named above, and as
            its detector.
          </p>
          <ModelList models={models} change={setModels} />
        </>
      ) : (
        <>
          <p class="muted">This device takes none. To let it, this stands in its device.yaml:</p>
          <pre class="device-file">{['remote:', '  desired:', '    models: true'].join('\n')}</pre>
        </>
      )}
    </DialogForm>
  )
}
