import { useEffect, useState } from 'preact/hooks'
import type { ChannelTested } from '../../api/channels.ts'
import type { ChannelKept } from '../channel-types.ts'
import * as api from '../channels.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Failed, Waiting } from '../parts/states.tsx'
import { WhyNotAllowed } from './channel-why.tsx'

/** Sends a notice that says it is a test, and shows what came back. */
export function ChannelTest({
  channel,
  onClose,
}: {
  readonly channel: ChannelKept
  readonly onClose: () => void
}) {
  const [tested, setTested] = useState<ChannelTested | undefined>(undefined)
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
        {tested?.items.map((it, index) => (
          <Answer key={index} tested={it} />
        ))}
        {tested?.items.length === 0 && (
          <p class="note">
            Nothing was sent: you have no browser with notices. Switch them on under{' '}
            <a href="/people?tab=you">your account</a>.
          </p>
        )}
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

function Answer({ tested }: { readonly tested: ChannelTested['items'][number] }) {
  const isSent = tested.is === 'sent'
  return (
    <div class="channel-answer">
      <p class="tone tone-wraps" data-tone={isSent ? 'good' : 'bad'}>
        <span class="dot" />
        <span>
          {isSent ? 'It was taken.' : (tested.why ?? 'It did not work.')}
          {tested.code !== null && <code class="code">{tested.code}</code>}
        </span>
      </p>
      <WhyNotAllowed code={tested.code} why={tested.why} />
      {tested.status !== null && <p class="muted">Status {tested.status}</p>}
      {tested.answer && (
        <>
          <h3>What was answered</h3>
          <pre class="channel-body">{tested.answer}</pre>
        </>
      )}
    </div>
  )
}
