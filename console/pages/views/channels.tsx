import { useState } from 'preact/hooks'
import type { ChannelKept } from '../channel-types.ts'
import * as api from '../channels.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { nowMs } from '../now.ts'
import { Confirm } from '../parts/confirm.tsx'
import { Dialog } from '../parts/dialog.tsx'
import { say } from '../parts/said.tsx'
import { Secret } from '../parts/secret.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { isUnconfined, may } from '../session.ts'
import { style } from '../styles.ts'
import { count, duration, number } from '../words.ts'
import { ChannelForm } from './channel-form.tsx'
import { type ChannelKind, KINDS, kindOf, whereTo } from './channel-kinds.ts'
import { ChannelTest } from './channel-test.tsx'

await style('channels.css')

/** Ways on which notices go out, whether they work, and what exactly is sent on each. */

const REFRESH_MS = 10_000

type Doing =
  | { readonly is: 'choose' }
  | { readonly is: 'add'; readonly kind: ChannelKind }
  | { readonly is: 'change' | 'test' | 'remove'; readonly channel: ChannelKept }
  | { readonly is: 'secret'; readonly name: string; readonly secret: string }

export default function ChannelsPage() {
  if (!may('scenarios') || !isUnconfined())
    return (
      <div class="page">
        <h1>Channels</h1>
        <Empty title="You may not see channels.">They are for operators who see every site.</Empty>
      </div>
    )
  return <Channels />
}

function Channels() {
  const channels = useLoaded('channels', api.channels)
  useEvery(REFRESH_MS, channels.again)
  const [doing, setDoing] = useState<Doing | undefined>(undefined)
  const close = () => setDoing(undefined)
  return (
    <div class="page">
      <header class="page-head">
        <div>
          <h1>Channels</h1>
          <p class="page-sub">The ways on which people and programs hear of notices.</p>
        </div>
        <button type="button" class="button button-strong" onClick={() => setDoing({ is: 'choose' })}>
          Add a channel
        </button>
      </header>
      <Shown of={channels} waiting={<Waiting rows={3} />}>
        {({ items }) =>
          items.length === 0 ? (
            <>
              <Empty title="No channels yet.">
                Choose how notices shall go out. The rules of a scenario then say which of their notices take
                which channel.
              </Empty>
              <Kinds choose={(kind) => setDoing({ is: 'add', kind })} />
            </>
          ) : (
            <ul class="cards">
              {items.map((channel) => (
                <li key={channel.id}>
                  <ChannelCard channel={channel} act={(is) => setDoing({ is, channel })} />
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
      {doing?.is === 'choose' && (
        <Dialog title="Add a channel" wide onClose={close}>
          <Kinds choose={(kind) => setDoing({ is: 'add', kind })} />
        </Dialog>
      )}
      {doing?.is === 'add' && (
        <ChannelForm
          key={doing.kind.key}
          kind={doing.kind}
          onClose={close}
          done={(made) => {
            channels.again()
            say(`${made.name} was added. Send a test, then name it in a rule.`)
            setDoing(
              made.secret === undefined ? undefined : { is: 'secret', name: made.name, secret: made.secret },
            )
          }}
        />
      )}
      {doing?.is === 'change' && (
        <ChannelForm
          kind={kindOf(doing.channel.document) ?? (KINDS[0] as ChannelKind)}
          channel={doing.channel}
          onClose={close}
          done={(changed) => {
            channels.again()
            say(`${changed.name} was changed.`)
            setDoing(
              changed.secret === undefined
                ? undefined
                : { is: 'secret', name: changed.name, secret: changed.secret },
            )
          }}
        />
      )}
      {doing?.is === 'test' && <ChannelTest channel={doing.channel} onClose={close} />}
      {doing?.is === 'remove' && (
        <Confirm
          title={`Remove ${doing.channel.name}?`}
          word="Remove"
          onClose={close}
          act={async () => {
            await api.remove(doing.channel.id)
            channels.again()
            say(`${doing.channel.name} was removed.`)
          }}
        >
          Nothing is sent on it any more, also not what waits. Rules that name it say so.
        </Confirm>
      )}
      {doing?.is === 'secret' && (
        <Dialog title={`The secret of ${doing.name}`} onClose={close}>
          <p>
            The receiver checks the signature with it (Standard Webhooks, header{' '}
            <code>webhook-signature</code>). It is shown only once.
          </p>
          <Secret label="Secret" text={doing.secret} />
        </Dialog>
      )}
    </div>
  )
}

function Kinds({ choose }: { readonly choose: (kind: ChannelKind) => void }) {
  return (
    <ul class="kinds">
      {KINDS.map((kind) => (
        <li key={kind.key}>
          <button type="button" class="kind" onClick={() => choose(kind)}>
            <strong>{kind.title}</strong>
            <span class="muted">{kind.what}</span>
          </button>
        </li>
      ))}
    </ul>
  )
}

function ChannelCard({
  channel,
  act,
}: {
  readonly channel: ChannelKept
  readonly act: (is: 'change' | 'test' | 'remove') => void
}) {
  const { document } = channel
  return (
    <article class="card channel" data-failing={channel.failingSinceMs ? '' : undefined}>
      <div class="card-text">
        <h2>
          {channel.name} <span class="badge">{kindOf(document)?.title ?? document.type}</span>{' '}
          {!document.enabled && <span class="badge">off</span>}
        </h2>
        <p class="muted">{whereTo(document)}</p>
        <p>
          <ChannelIs channel={channel} />
        </p>
        {channel.failingSinceMs && channel.lastError && <p class="note">{channel.lastError}</p>}
      </div>
      <p class="buttons">
        <button type="button" class="button" onClick={() => act('test')}>
          Send a test
        </button>
        <button type="button" class="button" onClick={() => act('change')}>
          Change
        </button>
        <button type="button" class="button button-danger" onClick={() => act('remove')}>
          Remove
        </button>
      </p>
    </article>
  )
}

function ChannelIs({ channel: { document, hour, failingSinceMs } }: { readonly channel: ChannelKept }) {
  const tone = !document.enabled ? 'quiet' : failingSinceMs ? 'bad' : 'good'
  return (
    <span class="tone tone-wraps" data-tone={tone}>
      <span class="dot" />
      <span>
        {!document.enabled
          ? 'Off: nothing is sent on it'
          : failingSinceMs
            ? `Failing for ${duration(Math.max(0, nowMs.value - failingSinceMs))}`
            : hour.sent > 0
              ? 'Works'
              : 'Ready'}
        <Hour hour={hour} />
      </span>
    </span>
  )
}

function Hour({ hour }: { readonly hour: ChannelKept['hour'] }) {
  const { sent, waiting, givenUp, notSent } = hour
  const parts = [
    sent > 0 ? `${count(sent, 'notice')} sent in the last hour` : 'nothing sent in the last hour',
    waiting > 0 ? `${number(waiting)} waiting` : '',
    givenUp > 0 ? `${number(givenUp)} given up` : '',
    notSent > 0 ? `${number(notSent)} not sent` : '',
  ]
  return <span class="muted"> · {parts.filter((it) => it !== '').join(', ')}</span>
}
