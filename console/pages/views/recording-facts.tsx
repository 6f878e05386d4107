import { useEffect, useState } from 'preact/hooks'
import * as api from '../api.ts'
import { Confirm } from '../parts/confirm.tsx'
import { say } from '../parts/said.tsx'
import * as recordings from '../recordings.ts'
import { may } from '../session.ts'
import { bytes, clockWithSeconds, count, dayAndClock, duration, exactDuration } from '../words.ts'
import { gapWords, isLoss, type RecordedDay, type Span } from './recorded-day.ts'
import type { DayOfCamera } from './recording-days.ts'
import { ExportButton } from './recording-export.tsx'
import { RecordingSignatures } from './recording-signatures.tsx'
import { ShareDialog } from './share-dialog.tsx'
import type { Marked } from './timeline.tsx'

/** What can be done with a stretch, and what the day has, in words. */

/** So long is kept, shared or exported where only one end is marked. */
const STRETCH_MS = 30_000

export function RecordingFacts({
  keys,
  days,
  marked,
  mark,
  seek,
  again,
}: {
  readonly keys: readonly string[]
  readonly days: ReadonlyMap<string, DayOfCamera>
  readonly marked: Marked
  readonly mark: {
    readonly in: () => void
    readonly out: () => void
    readonly set: (marked: Marked) => void
  }
  readonly seek: (atMs: number) => void
  readonly again: () => void
}) {
  const [chosen, setChosen] = useState(keys[0] ?? '')
  useEffect(() => {
    if (!keys.includes(chosen)) setChosen(keys[0] ?? '')
  }, [keys.join()])
  const day = days.get(chosen)?.day
  return (
    <div class="recording-below">
      <section class="stretch" aria-label="A stretch">
        <div class="stretch-head">
          <h2>A stretch</h2>
          {keys.length > 1 && (
            <label class="field">
              <span class="visually-hidden">Of camera</span>
              <select value={chosen} onChange={({ currentTarget: { value } }) => setChosen(value)}>
                {keys.map((key) => (
                  <option key={key} value={key}>
                    {key.split('/').at(-1)}
                  </option>
                ))}
              </select>
            </label>
          )}
        </div>
        <p class="buttons">
          <button type="button" class="button" onClick={mark.in}>
            Begins here <kbd>i</kbd>
          </button>
          <button type="button" class="button" onClick={mark.out}>
            Ends here <kbd>o</kbd>
          </button>
          {(marked.inMs !== undefined || marked.outMs !== undefined) && (
            <button
              type="button"
              class="link-button"
              onClick={() => mark.set({ inMs: undefined, outMs: undefined })}
            >
              Clear
            </button>
          )}
        </p>
        <Stretch camera={chosen} day={day} marked={marked} again={again} />
      </section>
      <section class="recording-lists" aria-label="This day">
        {day && <Lists camera={chosen} day={day} seek={seek} again={again} />}
      </section>
    </div>
  )
}

function Stretch({
  camera,
  day,
  marked,
  again,
}: {
  readonly camera: string
  readonly day: RecordedDay | undefined
  readonly marked: Marked
  readonly again: () => void
}) {
  const [isShared, setShared] = useState(false)
  const [isKeeping, setKeeping] = useState(false)
  const span = spanOf(marked)
  if (!span)
    return (
      <p class="muted">
        Mark where it begins and where it ends, to export it as a file, to keep it, to share it, or to check
        its signatures.
      </p>
    )
  const recordedMs = (day?.stretches ?? []).reduce(
    (sum, { fromMs, toMs }) => sum + Math.max(0, Math.min(toMs, span.toMs) - Math.max(fromMs, span.fromMs)),
    0,
  )
  const isKept = day?.kept.some(({ fromMs, toMs }) => fromMs <= span.fromMs && toMs >= span.toMs) ?? false
  const isNothing = recordedMs === 0
  async function keep(): Promise<void> {
    if (!span) return
    setKeeping(true)
    try {
      const { isConfirmed } = await recordings.keep(camera, span, true)
      say(
        isConfirmed
          ? 'Kept: retention leaves this stretch alone.'
          : 'It was asked for; the subscriber does it as soon as it can.',
      )
      again()
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    setKeeping(false)
  }
  return (
    <>
      <p>
        <strong>
          {clockWithSeconds(span.fromMs)} – {clockWithSeconds(span.toMs)}
        </strong>{' '}
        <span class="muted">
          {exactDuration(span.toMs - span.fromMs)}
          {isNothing
            ? ', nothing of it is recorded'
            : recordedMs < span.toMs - span.fromMs - 1000
              ? `, of which ${exactDuration(recordedMs)} are recorded`
              : ''}
        </span>
      </p>
      <p class="buttons">
        {may('export') && <ExportButton camera={camera} span={span} isNothing={isNothing} />}
        {may('command') && (
          <button
            type="button"
            class="button"
            disabled={isNothing || isKeeping || isKept}
            onClick={() => void keep()}
          >
            {isKept ? 'Is kept' : isKeeping ? 'Keeping …' : 'Keep'}
          </button>
        )}
        {may('share') && (
          <button type="button" class="button" disabled={isNothing} onClick={() => setShared(true)}>
            Share
          </button>
        )}
      </p>
      {!isNothing && (
        <RecordingSignatures key={`${camera} ${span.fromMs} ${span.toMs}`} camera={camera} span={span} />
      )}
      {isShared && <ShareDialog of={{ recording: { camera, ...span } }} onClose={() => setShared(false)} />}
    </>
  )
}

function spanOf({ inMs, outMs }: Marked): Span | undefined {
  if (inMs === undefined && outMs === undefined) return undefined
  const fromMs = Math.floor(inMs ?? (outMs as number) - STRETCH_MS)
  return { fromMs, toMs: Math.ceil(outMs ?? fromMs + STRETCH_MS) }
}

function Lists({
  camera,
  day,
  seek,
  again,
}: {
  readonly camera: string
  readonly day: RecordedDay
  readonly seek: (atMs: number) => void
  readonly again: () => void
}) {
  const [letting, setLetting] = useState<Span | undefined>(undefined)
  const { stretches, gaps, kept } = day
  const recordedMs = stretches.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0)
  const losses = gaps.filter(({ why }) => isLoss(why))
  return (
    <>
      <h2>This day</h2>
      <p class="muted">
        {stretches.length === 0
          ? 'Nothing is recorded.'
          : `${exactDuration(recordedMs)} recorded, ${bytes(day.bytes)}, ${
              gaps.length === 0 ? 'without a gap' : count(gaps.length, 'gap')
            }${losses.length > 0 ? `, of which ${losses.length} should not be` : ''}.`}
      </p>
      {gaps.length > 0 && (
        <details class="details">
          <summary>Gaps</summary>
          <div class="recording-gaps">
            <table class="table">
              <thead>
                <tr>
                  <th scope="col">From</th>
                  <th scope="col">For</th>
                  <th scope="col">Why</th>
                </tr>
              </thead>
              <tbody>
                {gaps.map(({ fromMs, toMs, why }) => (
                  <tr key={fromMs}>
                    <td>
                      <button type="button" class="link-button" onClick={() => seek(fromMs)}>
                        {clockWithSeconds(fromMs)}
                      </button>
                    </td>
                    <td>{duration(toMs - fromMs)}</td>
                    <td>{gapWords(why)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      )}
      {kept.length > 0 && (
        <>
          <h3>Kept</h3>
          <ul class="plain">
            {kept.map(({ fromMs, toMs, by, atMs }) => (
              <li key={`${fromMs} ${toMs}`}>
                <button type="button" class="link-button" onClick={() => seek(fromMs)}>
                  {clockWithSeconds(fromMs)} – {clockWithSeconds(toMs)}
                </button>{' '}
                <span class="muted">
                  by {by}, {dayAndClock(atMs)}
                </span>{' '}
                {may('command') && (
                  <button type="button" class="link-button" onClick={() => setLetting({ fromMs, toMs })}>
                    Keep no longer
                  </button>
                )}
              </li>
            ))}
          </ul>
        </>
      )}
      {may('see') && (
        <p>
          <a href={`/faces${api.queryText({ camera })}`}>Faces of this camera</a>
          {' · '}
          <a href={`/cameras/${camera}`}>The camera</a>
        </p>
      )}
      {letting && (
        <Confirm
          title="Keep this stretch no longer?"
          word="Keep no longer"
          act={async () => {
            await recordings.keep(camera, letting, false)
            again()
          }}
          onClose={() => setLetting(undefined)}
        >
          From {clockWithSeconds(letting.fromMs)} to {clockWithSeconds(letting.toMs)}. It is deleted when the
          retention of its camera says so.
        </Confirm>
      )}
    </>
  )
}
