import { useEffect, useState } from 'preact/hooks'
import type { ChannelKept, Tested } from '../channel-types.ts'
import * as api from '../channels.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Failed, Waiting } from '../parts/states.tsx'
import { number } from '../words.ts'
import { WhyNotAllowed } from './channel-why.tsx'

/** Sends a notice that says it is a test, and shows what came back. */
export function ChannelTest({
  channel,
  onClose,
}: {
  readonly channel: ChannelKept
  readonly onClose: () => void
}) {
  const [tested, setTested] = useState<Tested | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const [round, setRound] = useState(0)
  useEffect(() => {
    let isWanted = true
    setTested(undefined)
    setError(undefined)
    api.test(channel.id).then(
      (it) => {
        if (isWanted) setTested(it)
      },
      (problem: unknown) => {
        if (isWanted) setError(problem)
      },
    )
    return () => {
      isWanted = false
    }
  }, [round])
  return (
    <Dialog title={`A test of ${channel.name}`} onClose={onClose}>
      <div role="status" class="channel-tested">
        {tested === undefined && error === undefined && (
          <>
            <p>A test is being sent …</p>
            <Waiting rows={1} />
          </>
        )}
        {error !== undefined && <Failed error={error} />}
        {tested && <Answer tested={tested} />}
      </div>
      <p class="buttons">
        <button
          type="button"
          class="button"
          disabled={tested === undefined && error === undefined}
          onClick={() => setRound(round + 1)}
        >
          Once more
        </button>
        <button type="button" class="button button-strong" onClick={onClose}>
          Done
        </button>
      </p>
    </Dialog>
  )
}

function Answer({ tested }: { readonly tested: Tested }) {
  const isSent = tested.is === 'sent'
  return (
    <>
      <p class="tone tone-wraps" data-tone={isSent ? 'good' : 'bad'}>
        <span class="dot" />
        <span>
          {isSent ? 'It was taken.' : (tested.why ?? 'It did not work.')}
          {tested.code !== null && <code class="code">{tested.code}</code>}
        </span>
      </p>
      <WhyNotAllowed code={tested.code} why={tested.why} />
      <dl class="facts">
        {tested.status !== null && (
          <>
            <dt>Status</dt>
            <dd>{tested.status}</dd>
          </>
        )}
        <dt>Took</dt>
        <dd>{number(tested.durationMs)} ms</dd>
      </dl>
      {tested.answer && (
        <>
          <h3>What was answered</h3>
          <pre class="channel-body">{tested.answer}</pre>
        </>
      )}
    </>
  )
}
