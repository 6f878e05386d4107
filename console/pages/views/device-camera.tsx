import { useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import * as api from '../api.ts'
import { ALL_SETTINGS, isSame, type Setting, valueAt, valueWords } from '../device-settings.ts'
import type { DeviceDesired, DeviceDocument } from '../device-types.ts'
import { Confirm } from '../parts/confirm.tsx'
import { CameraForm } from './device-camera-form.tsx'
import { OpenedPicture } from './device-draw.tsx'

/** A camera of a device: its settings as they hold beside what they shall be, and where each comes from. */

interface Row {
  readonly setting: Setting
  readonly now: unknown
  readonly wanted: unknown
  readonly from: string
  readonly isOther: boolean
}

export function DeviceCamera({
  address,
  camera,
  is,
  document,
  save,
  canChange,
}: {
  readonly address: { readonly site: string; readonly device: string; readonly camera: string }
  /** undefined: it has not said anything yet. */
  readonly camera: Camera | undefined
  readonly is: DeviceDesired
  readonly document: DeviceDocument
  readonly save: (next: DeviceDocument, done: string) => Promise<void>
  readonly canChange: boolean
}) {
  const name = address.camera
  const [isAll, setAll] = useState(false)
  const [doing, setDoing] = useState<'change' | 'remove' | 'back' | undefined>(undefined)
  const { reported } = is
  const effective = reported?.effective.cameras[name]
  const opened = reported?.opened?.[name]
  const isRemoved = document.content.removed?.includes(name) ?? false
  const isAdded = document.content.cameras?.[name]?.source !== undefined
  const rows = rowsOf(name, is, document)
  const shown = isAll ? rows : rows.filter(({ wanted, isOther }) => wanted !== undefined || isOther)

  async function remove(): Promise<void> {
    const { [name]: _gone, ...cameras } = document.content.cameras ?? {}
    const removed = isAdded ? document.content.removed : [...(document.content.removed ?? []), name]
    await save(
      { ...document, content: { ...document.content, cameras, ...(removed && { removed }) } },
      `${name} was removed.`,
    )
  }
  async function putBack(): Promise<void> {
    const removed = (document.content.removed ?? []).filter((it) => it !== name)
    await save({ ...document, content: { ...document.content, removed } }, `${name} was put back.`)
  }
  return (
    <article class="card device-camera">
      <header class="device-camera-head">
        <h3>
          <a href={`/cameras/${api.cameraPath(address)}`}>{name}</a>
        </h3>
        <span class="badge">{originWords(effective?.from, isRemoved, isAdded)}</span>
        {document.cameraLabels[name]?.map((label) => (
          <span key={label} class="badge">
            {label}
          </span>
        ))}
        {effective && <span class="muted breaks">{effective.source}</span>}
      </header>
      {opened && (
        <div class="device-opened">
          {opened.picture && <OpenedPicture name={name} opened={opened} />}
          {opened.error && (
            <p class="note">
              It could not be opened: {opened.error.message}
              <code class="code">{opened.error.code}</code>
            </p>
          )}
          {opened.frame && (
            <p class="muted">
              Opened: {opened.frame[0]} × {opened.frame[1]} pixels
            </p>
          )}
        </div>
      )}
      {shown.length > 0 && (
        <div class="table-scroll">
          <table class="table device-settings">
            <thead>
              <tr>
                <th scope="col">Setting</th>
                <th scope="col">Holds</th>
                <th scope="col">Shall be</th>
                <th scope="col">From</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => (
                <tr key={row.setting.path.join('.')} data-other={row.isOther ? '' : undefined}>
                  <th scope="row">{row.setting.title}</th>
                  <td>{valueWords(row.setting, row.now)}</td>
                  <td>
                    {row.wanted === undefined ? (
                      <span class="muted">not set</span>
                    ) : row.isOther ? (
                      <strong>{valueWords(row.setting, row.wanted)}</strong>
                    ) : (
                      valueWords(row.setting, row.wanted)
                    )}
                    {row.isOther && <span class="visually-hidden"> (it holds otherwise)</span>}
                  </td>
                  <td class="muted">{row.from}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {shown.length === 0 && !isAll && !isRemoved && (
        <p class="muted">
          {isAdded
            ? `At ${document.content.cameras?.[name]?.source}.`
            : "Everything is as the device's file says."}
        </p>
      )}
      <p class="buttons">
        {canChange && !isRemoved && (
          <button type="button" class="button" onClick={() => setDoing('change')}>
            Change
          </button>
        )}
        {effective && (
          <button type="button" class="link-button" aria-pressed={isAll} onClick={() => setAll(!isAll)}>
            {isAll ? 'Show what is set from here' : 'Show all settings'}
          </button>
        )}
        {canChange && isRemoved && (
          <button type="button" class="button" onClick={() => setDoing('back')}>
            Put back
          </button>
        )}
        {canChange && !isRemoved && reported?.allows.cameras && effective?.from !== 'stream' && (
          <button type="button" class="button button-danger" onClick={() => setDoing('remove')}>
            Remove
          </button>
        )}
      </p>
      {doing === 'change' && (
        <CameraForm
          name={name}
          camera={camera}
          is={is}
          document={document}
          save={save}
          onClose={() => setDoing(undefined)}
        />
      )}
      {doing === 'remove' && (
        <Confirm title={`Remove ${name}?`} word="Remove" act={remove} onClose={() => setDoing(undefined)}>
          {isAdded
            ? 'The device stops it, and forgets its address and password.'
            : "The device stops it, although it stands in the device's file. It can be put back."}{' '}
          Its faces and recordings stay.
        </Confirm>
      )}
      {doing === 'back' && (
        <Confirm
          title={`Put ${name} back?`}
          word="Put back"
          act={putBack}
          onClose={() => setDoing(undefined)}
        >
          The device runs it again, as its file says.
        </Confirm>
      )}
    </article>
  )
}

function originWords(from: string | undefined, isRemoved: boolean, isAdded: boolean): string {
  if (isRemoved) return 'removed from here'
  if (from === 'desired' || (from === undefined && isAdded)) return 'added from here'
  if (from === 'stream') return 'comes to the device'
  return from === 'file' ? "of the device's file" : 'not answered yet'
}

function rowsOf(name: string, is: DeviceDesired, document: DeviceDocument): readonly Row[] {
  const now = is.reported?.effective.cameras[name]
  const wanted = is.desired?.content.cameras?.[name]
  const own = document.content.cameras?.[name]
  const scenarios = is.desired?.scenarios.map((it) => it.name).join(', ') ?? ''
  return ALL_SETTINGS.flatMap((setting): Row[] => {
    const holds = valueAt(now, setting.path)
    const shall = valueAt(wanted, setting.path)
    const ours = valueAt(own, setting.path)
    if (holds === undefined && shall === undefined) return []
    const from =
      shall === undefined
        ? "the device's file"
        : ours !== undefined && isSame(ours, shall)
          ? 'set here'
          : scenarios === ''
            ? 'sent before'
            : `scenario ${scenarios}`
    return [
      {
        setting,
        now: holds,
        wanted: shall,
        from,
        isOther: shall !== undefined && now !== undefined && !isSame(holds, shall),
      },
    ]
  })
}
