import type { ComponentChildren } from 'preact'
import { useId, useState } from 'preact/hooks'
import { type ByAddress, channelsOf, linesOf, listOf, plain, tensorsOf, tensorWords } from '../look-types.ts'
import type { Trouble } from '../scenario-types.ts'
import { style } from '../styles.ts'
import { Troubles, under } from '../views/scenario-troubles.tsx'

await style('looks.css')

type Classify = Readonly<Record<string, unknown>>

/** Models by address: where they are fetched, what they must be, and what they are for. */
export function ModelList({
  models,
  change,
  troubles = [],
}: {
  readonly models: readonly ByAddress[]
  readonly change: (models: readonly ByAddress[]) => void
  /** Below `models` of the document. */
  readonly troubles?: readonly Trouble[]
}) {
  return (
    <div class="looks-part">
      {models.length > 0 && (
        <ul class="looks plain" aria-label="Models by address">
          {models.map((model, at) => (
            <li key={at} class="look">
              <ModelFields
                model={model}
                set={(next) => change(models.map((it, n) => (n === at ? plain({ ...it, ...next }) : it)))}
              />
              <Troubles of={under(troubles, 'models', at)} />
              <p class="buttons">
                <button
                  type="button"
                  class="button"
                  onClick={() => change(models.filter((_, n) => n !== at))}
                >
                  Remove<span class="visually-hidden"> the model {model.name}</span>
                </button>
              </p>
            </li>
          ))}
        </ul>
      )}
      <p class="buttons">
        <button
          type="button"
          class="button"
          onClick={() => change([...models, { name: '', sources: [], sha256: '', classify: { labels: [] } }])}
        >
          Add a model by address
        </button>
      </p>
    </div>
  )
}

function ModelFields({
  model,
  set,
}: {
  readonly model: ByAddress
  readonly set: (next: Partial<ByAddress>) => void
}) {
  const { classify, input } = model
  const setClassify = (next: Classify) => set({ classify: plain({ ...classify, ...next }) })
  return (
    <>
      <div class="look-fields">
        <label class="field">
          <span>Name of the model</span>
          <input
            required
            maxLength={64}
            pattern="[a-z0-9][a-z0-9._\-]{0,63}"
            title="Lowercase letters, digits, dots, dashes and underscores; no name of the catalogue"
            autocomplete="off"
            spellcheck={false}
            value={model.name}
            onChange={({ currentTarget: { value } }) => set({ name: value.trim() })}
          />
        </label>
        <label class="field">
          <span>What it does</span>
          <select
            value={classify ? 'classifier' : 'detector'}
            onChange={({ currentTarget: { value } }) =>
              value === 'classifier'
                ? set({ classify: { labels: [] }, head: undefined, scoreMin: undefined })
                : set({ classify: undefined })
            }
          >
            <option value="classifier">tells something of a face</option>
            <option value="detector">finds faces</option>
          </select>
        </label>
        <label class="field">
          <span>Input, pixels, such as 112x112</span>
          <input
            pattern="\d{1,5} ?[x×] ?\d{1,5}"
            title="Width and height, such as 112x112"
            placeholder="as the file says"
            autocomplete="off"
            value={input ? `${input.width}x${input.height}` : ''}
            onChange={({ currentTarget: { value } }) => {
              const [width = 0, height = 0] = value.split(/[x×]/).map(Number)
              set({ input: width > 0 && height > 0 ? { width, height } : undefined })
            }}
          />
        </label>
        <label class="field look-wide">
          <span>Address of its ONNX file; further ones, each on a line, are tried where that fails</span>
          <textarea
            required
            rows={Math.max(1, model.sources.length)}
            placeholder="https://models.example.org/gate.onnx"
            spellcheck={false}
            value={model.sources.join('\n')}
            onChange={({ currentTarget: { value } }) => set({ sources: linesOf(value) })}
          />
        </label>
        <label class="field look-wide">
          <span>SHA-256 of the file, as sha256sum writes it</span>
          <input
            required
            class="mono"
            pattern="[0-9a-f]{64}"
            title="64 digits, 0 to 9 and a to f"
            autocomplete="off"
            spellcheck={false}
            value={model.sha256}
            onChange={({ currentTarget: { value } }) => set({ sha256: value.trim().toLowerCase() })}
          />
        </label>
        {classify ? (
          <label class="field look-wide">
            <span>Labels, in the order of its output, with commas between them</span>
            <input
              required
              placeholder="without mask, with mask"
              autocomplete="off"
              value={Array.isArray(classify.labels) ? classify.labels.join(', ') : ''}
              onChange={({ currentTarget: { value } }) => setClassify({ labels: listOf(value) })}
            />
          </label>
        ) : (
          <label class="field">
            <span>Family</span>
            <select
              value={model.head ?? 'auto'}
              onChange={({ currentTarget: { value } }) => set({ head: value === 'auto' ? undefined : value })}
            >
              {['auto', 'yunet', 'blazeface', 'ultraface'].map((head) => (
                <option key={head} value={head}>
                  {head === 'auto'
                    ? 'as its tensors say'
                    : head === 'ultraface'
                      ? 'ultraface: some tell masked faces, too'
                      : head}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      <details class="details">
        <summary>
          {classify ? 'How it is asked, and what its tensors must be' : 'What its tensors must be'}
        </summary>
        <div class="look-fields">
          {classify && <ClassifyFields classify={classify} set={setClassify} />}
          <Tensors title="Inputs" value={model.inputs} set={(inputs) => set({ inputs })} />
          <Tensors title="Outputs" value={model.outputs} set={(outputs) => set({ outputs })} />
        </div>
      </details>
    </>
  )
}

const CHOICES = [
  [
    'activation',
    'Its numbers are',
    [
      ['softmax', 'scores for softmax'],
      ['sigmoid', 'scores for sigmoid'],
      ['none', 'probabilities'],
    ],
  ],
  [
    'channels',
    'Colours',
    [
      ['rgb', 'red, green, blue'],
      ['bgr', 'blue, green, red'],
    ],
  ],
  [
    'fit',
    'A face of another shape is',
    [
      ['stretch', 'squeezed'],
      ['letterbox', 'shown with black bars'],
      ['cover', 'cut'],
    ],
  ],
] as const

function ClassifyFields({
  classify,
  set,
}: {
  readonly classify: Classify
  readonly set: (next: Classify) => void
}) {
  const { threshold } = classify
  return (
    <>
      {CHOICES.map(([key, title, options]) => (
        <label key={key} class="field">
          <span>{title}</span>
          <select
            value={String(classify[key] ?? options[0][0])}
            onChange={({ currentTarget: { value } }) => set({ [key]: value })}
          >
            {options.map(([option, words]) => (
              <option key={option} value={option}>
                {words}
              </option>
            ))}
          </select>
        </label>
      ))}
      <Channels title="Mean, of a byte" value={classify.mean} open="0" set={(mean) => set({ mean })} />
      <Channels title="Scale" value={classify.scale} open="1/255" set={(scale) => set({ scale })} />
      <label class="field">
        <span>Said from, %</span>
        <input
          type="number"
          min="0"
          max="100"
          placeholder="50"
          value={typeof threshold === 'number' ? String(Math.round(threshold * 100)) : ''}
          onChange={({ currentTarget: { value } }) =>
            set({ threshold: value === '' ? undefined : Number(value) / 100 })
          }
        />
      </label>
    </>
  )
}

/** What was typed stays until it can be read. */
function Channels({
  title,
  value,
  open,
  set,
}: {
  readonly title: string
  readonly value: unknown
  readonly open: string
  readonly set: (value: number | number[] | undefined) => void
}) {
  const [typed, setTyped] = useState<string | undefined>(undefined)
  return (
    <Field
      title={`${title}: one number, or three`}
      wrong={typed !== undefined && 'Write one number, or three with commas.'}
    >
      {(common) => (
        <input
          {...common}
          placeholder={open}
          autocomplete="off"
          value={
            typed ??
            (Array.isArray(value) ? value.join(', ') : typeof value === 'number' ? String(value) : '')
          }
          onChange={({ currentTarget: { value: text } }) => {
            const read = channelsOf(text)
            const isRead = read !== undefined || text.trim() === ''
            setTyped(isRead ? undefined : text)
            if (isRead) set(read)
          }}
        />
      )}
    </Field>
  )
}

function Tensors({
  title,
  value,
  set,
}: {
  readonly title: string
  readonly value: ByAddress['inputs']
  readonly set: (value: ByAddress['inputs']) => void
}) {
  const [typed, setTyped] = useState<string | undefined>(undefined)
  return (
    <Field
      title={`${title}, one a line: name, type, shape`}
      isWide
      wrong={
        typed !== undefined && 'Each line is a name, a type and a shape: input float32 1 x 3 x 112 x 112.'
      }
    >
      {(common) => (
        <textarea
          {...common}
          rows={2}
          spellcheck={false}
          placeholder="not held against the file"
          value={typed ?? tensorWords(value)}
          onChange={({ currentTarget: { value: text } }) => {
            const read = tensorsOf(text)
            setTyped(read ? undefined : text)
            if (read) set(read.length === 0 ? undefined : read)
          }}
        />
      )}
    </Field>
  )
}

function Field({
  title,
  wrong,
  isWide = false,
  children,
}: {
  readonly title: string
  readonly wrong: string | false
  readonly isWide?: boolean
  readonly children: (common: {
    readonly id: string
    readonly 'aria-invalid': boolean
    readonly 'aria-describedby': string | undefined
  }) => ComponentChildren
}) {
  const id = useId()
  return (
    <div class={`field${isWide ? ' look-wide' : ''}`}>
      <label for={id}>{title}</label>
      {children({
        id,
        'aria-invalid': wrong !== false,
        'aria-describedby': wrong === false ? undefined : `${id}-wrong`,
      })}
      {wrong !== false && (
        <p class="field-wrong" id={`${id}-wrong`}>
          {wrong}
        </p>
      )}
    </div>
  )
}
