import { useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import { CAMERA_SETTINGS, valueAt, valueWords, withValue } from '../device-settings.ts'
import type { DeviceDesired, DeviceDocument } from '../device-types.ts'
import { useAsOpened } from '../parts/as-opened.ts'
import { DialogForm } from '../parts/dialog-form.tsx'
import { LookChoice } from '../parts/look-list.tsx'
import { DrawField } from './device-draw.tsx'
import { SettingField } from './setting-field.tsx'

/** All settings of a camera that can be set from here. What is sent is tried by the device before it holds. */
export function CameraForm({
  name,
  camera,
  is,
  onClose,
  ...latest
}: {
  readonly name: string
  readonly camera: Camera | undefined
  readonly is: DeviceDesired
  readonly document: DeviceDocument
  readonly save: (next: DeviceDocument, done: string) => Promise<void>
  readonly onClose: () => void
}) {
  const { document, save } = useAsOpened(latest)
  const [settings, setSettings] = useState(document.content.cameras?.[name] ?? {})
  const now = is.reported?.effective.cameras[name]
  const looks = [...(is.reported?.effective.process ?? []), ...(document.content.process ?? [])].map(
    (it) => it.name,
  )
  async function act(): Promise<void> {
    const cameras = { ...document.content.cameras }
    if (Object.keys(settings).length === 0) delete cameras[name]
    else cameras[name] = settings
    await save({ ...document, content: { ...document.content, cameras } }, `${name} was saved.`)
  }
  return (
    <DialogForm
      title={`Settings of ${name}`}
      wide
      submit="Save, and tell the device"
      act={act}
      onClose={onClose}
    >
      <p class="muted">
        What is not set here is as the device's file says, or as a scenario says while it holds. A scenario
        goes before what is set here.
      </p>
      {CAMERA_SETTINGS.map((group, index) => (
        <details key={group.title} class="details setting-group" open={index === 0}>
          <summary>{group.title}</summary>
          <div class="setting-fields">
            {group.settings.map((setting) => {
              const value = valueAt(settings, setting.path)
              const set = (next: unknown) => setSettings((old) => withValue(old, setting.path, next))
              const props = { setting, value, now: valueAt(now, setting.path), onChange: set }
              if (setting.kind.is === 'looks')
                return (
                  <LookChoice
                    key={setting.path.join('.')}
                    title={setting.title}
                    value={settings.process}
                    names={looks}
                    now={`not set here: ${now?.process === undefined ? 'all of the device' : valueWords(setting, now.process)}`}
                    change={set}
                  />
                )
              return ['zones', 'masks', 'region'].includes(setting.kind.is) ? (
                <DrawField
                  key={setting.path.join('.')}
                  {...props}
                  camera={camera}
                  opened={is.reported?.opened?.[name]}
                />
              ) : (
                <SettingField key={setting.path.join('.')} {...props} />
              )
            })}
          </div>
        </details>
      ))}
    </DialogForm>
  )
}
