import { useState } from 'preact/hooks'
import type { ExportPlan } from '../../api/recording-export.ts'
import { Dialog } from '../parts/dialog.tsx'
import { say } from '../parts/said.tsx'
import * as recordings from '../recordings.ts'
import { bytes, clockWithSeconds, count } from '../words.ts'
import { gapWords, type Span } from './recorded-day.ts'

/** A stretch as a file, as the camera sent it. What it takes is asked first: a download that fails says nothing. */
export function ExportButton({
  camera,
  span,
  isNothing,
}: {
  readonly camera: string
  readonly span: Span
  readonly isNothing: boolean
}) {
  const [isAsking, setAsking] = useState(false)
  const [plan, setPlan] = useState<ExportPlan | undefined>(undefined)
  async function ask(): Promise<void> {
    setAsking(true)
    try {
      const made = await recordings.exportPlan(camera, span)
      const [part, ...others] = made.parts
      if (part && others.length === 0 && made.gaps.length === 0 && made.lost === 0) {
        download(part.address)
        say(`${bytes(part.bytes)} are on their way: the browser shows how far they are.`)
      } else setPlan(made)
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    setAsking(false)
  }
  return (
    <>
      <button
        type="button"
        class="button button-strong"
        disabled={isNothing || isAsking}
        onClick={() => void ask()}
      >
        {isAsking ? 'Looking what it takes …' : 'Export as MP4'}
      </button>
      {plan && <Parts plan={plan} onClose={() => setPlan(undefined)} />}
    </>
  )
}

/** As a link that was pressed: the answer names the file. */
function download(address: string): void {
  const link = document.createElement('a')
  link.href = address
  link.download = ''
  link.click()
}

function Parts({
  plan: { parts, gaps, lost },
  onClose,
}: {
  readonly plan: ExportPlan
  readonly onClose: () => void
}) {
  return (
    <Dialog title="Export" onClose={onClose}>
      {parts.length > 1 && (
        <p>
          The picture changes its size or its codec within this stretch, so it takes{' '}
          {count(parts.length, 'file')}.
        </p>
      )}
      {lost > 0 && (
        <p class="note">
          {count(lost, 'chunk')} {lost === 1 ? 'is' : 'are'} not in the bucket, and not in the file.
        </p>
      )}
      {gaps.length > 0 && (
        <section>
          <p>Of these times nothing is recorded. In the file, what follows comes at once.</p>
          <ul class="plain">
            {gaps.map(({ fromMs, toMs, why }) => (
              <li key={fromMs}>
                {clockWithSeconds(fromMs)} – {clockWithSeconds(toMs)}{' '}
                <span class="muted">{gapWords(why)}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      <ul class="cards">
        {parts.map((part) => (
          <li key={part.address} class="card">
            <div class="card-text">
              <p>
                {clockWithSeconds(part.fromMs)} – {clockWithSeconds(part.toMs)}
              </p>
              <p class="muted">
                {part.width} × {part.height} · {part.codecs} · {bytes(part.bytes)}
              </p>
            </div>
            <a class="button button-strong" href={part.address} download="">
              Download
            </a>
          </li>
        ))}
      </ul>
    </Dialog>
  )
}
