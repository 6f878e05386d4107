import { Fragment } from 'preact'
import { useState } from 'preact/hooks'
import { cameraPath, Problem, queryText } from '../api.ts'
import { useEvery, useLoaded } from '../loaded.ts'
import { useNews } from '../news.ts'
import type { NoticeDetail } from '../notice-types.ts'
import * as api from '../notices.ts'
import { DeliveryIs } from '../parts/delivery-state.tsx'
import { NoticeLevel } from '../parts/notice-level.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { bytes, dayAndClock, exact, number, share } from '../words.ts'
import { SuspendDialog } from './suspend-dialog.tsx'

await style('notices.css')

/** One notice: what was noticed, and every attempt to tell somebody. */

const REFRESH_MS = 5000

export default function NoticePage({ params }: { readonly params: Readonly<Record<string, string>> }) {
  const { id = '' } = params
  const notice = useLoaded(id, (signal) => api.notice(id, signal))
  useNews('notice', (said) => {
    if (said.id === id) notice.again()
  })
  useNews('reset', notice.again)
  useEvery(REFRESH_MS, () => {
    if (notice.value?.deliveries.some(({ state }) => state === 'waiting')) notice.again()
  })
  const isMissing = notice.error instanceof Problem && notice.error.status === 404
  return (
    <div class="page">
      <p class="crumbs">
        <a href="/notices">Notices</a>
      </p>
      {isMissing ? (
        <>
          <h1>Notice not found</h1>
          <Empty title="It is past its time, or you may not see it.">
            <a href="/notices">Show all notices</a>
          </Empty>
        </>
      ) : (
        <Shown
          of={notice}
          waiting={
            <>
              <h1>Notice</h1>
              <Waiting shape="block" rows={1} />
            </>
          }
        >
          {(value) => <One notice={value} again={notice.again} />}
        </Shown>
      )}
    </div>
  )
}

function One({ notice, again }: { readonly notice: NoticeDetail; readonly again: () => void }) {
  const [isSuspending, setSuspending] = useState(false)
  const { site, device, camera } = notice
  const address = site && device && camera ? { site, device, camera } : undefined
  return (
    <article class="notice-one">
      <header class="page-head">
        <div>
          <h1>{notice.title}</h1>
          <p class="page-sub">
            <NoticeLevel level={notice.level} /> <When atMs={notice.atMs} />
          </p>
        </div>
        {may('scenarios') && (
          <p class="page-acts">
            <button type="button" class="button" onClick={() => setSuspending(true)}>
              Suspend
            </button>
          </p>
        )}
      </header>
      <div class={notice.picture === null ? undefined : 'notice-halves'}>
        {notice.picture !== null && (
          <figure class="notice-large">
            {notice.detection ? (
              <a href={`/faces/${notice.detection}`}>
                <img src={notice.picture} alt={`To ${notice.title}`} />
              </a>
            ) : (
              <img src={notice.picture} alt={`To ${notice.title}`} />
            )}
          </figure>
        )}
        <div class="notice-facts">
          {notice.text !== '' && <p class="breaks">{notice.text}</p>}
          <dl class="facts">
            <dt>When</dt>
            <dd>{exact(notice.atMs)}</dd>
            <dt>Scenario</dt>
            <dd>
              {may('scenarios') ? (
                <a href={`/scenarios/${encodeURIComponent(notice.scenario.id)}`}>{notice.scenario.name}</a>
              ) : (
                notice.scenario.name
              )}
            </dd>
            <dt>Rule</dt>
            <dd>{notice.rule.name}</dd>
            {address && (
              <>
                <dt>Camera</dt>
                <dd>
                  <a href={`/cameras/${cameraPath(address)}`}>{camera}</a>{' '}
                  <span class="muted">
                    {site} · {device}
                  </span>
                </dd>
              </>
            )}
            {notice.zones && notice.zones.length > 0 && (
              <>
                <dt>Zones</dt>
                <dd>{notice.zones.join(', ')}</dd>
              </>
            )}
            {notice.attributes?.map((one, index) => (
              <Fragment key={index}>
                <dt>
                  <bdi>{one.name}</bdi>
                </dt>
                <dd>
                  <bdi>{one.label}</bdi> <span class="muted">{share(one.score)} sure</span>
                </dd>
              </Fragment>
            ))}
            {notice.masked !== undefined && (
              <>
                <dt>Mask</dt>
                <dd>{notice.masked ? 'Yes' : 'No'}</dd>
              </>
            )}
            {notice.count !== undefined && (
              <>
                <dt>How many</dt>
                <dd>{number(notice.count)}</dd>
              </>
            )}
            {notice.track && may('see') && (
              <>
                <dt>Track</dt>
                <dd>
                  <a href={`/faces${queryText({ track: notice.track })}`}>Its pictures</a>
                </dd>
              </>
            )}
            {notice.object && (
              <>
                <dt>Object</dt>
                <dd class="breaks">
                  {notice.object.kind}, {bytes(notice.object.bytes)}, <code>{notice.object.key}</code>
                </dd>
              </>
            )}
            <dt>State</dt>
            <dd>
              {notice.is === 'ended' ? 'Over' : notice.is === 'test' ? 'A test' : 'New'}
              {notice.revision > 0 && (
                <span class="muted">
                  {' '}
                  (updated {notice.revision === 1 ? 'once' : `${number(notice.revision)} times`}, last{' '}
                  <When atMs={notice.changedAtMs} />)
                </span>
              )}
            </dd>
          </dl>
          {may('recordings') && address && (
            <p>
              <a
                class="button"
                href={`/recordings${queryText({ camera: `${site}/${device}/${camera}`, at: String(notice.atMs) })}`}
              >
                Watch the moment
              </a>
            </p>
          )}
        </div>
      </div>
      <section aria-labelledby="told">
        <h2 id="told">Who was told</h2>
        {notice.deliveries.length === 0 ? (
          <Empty title="Nobody: it is shown here only.">
            Its rule names no channel.
            {may('scenarios') && (
              <>
                {' '}
                <a href={`/scenarios/${encodeURIComponent(notice.scenario.id)}`}>Choose one in its rule.</a>
              </>
            )}
          </Empty>
        ) : (
          <ol class="cards">
            {notice.deliveries.map((delivery) => (
              <li key={delivery.id}>
                <DeliveryCard notice={notice} delivery={delivery} again={again} />
              </li>
            ))}
          </ol>
        )}
      </section>
      {isSuspending && (
        <SuspendDialog
          notice={notice}
          onClose={() => setSuspending(false)}
          done={() => {
            setSuspending(false)
            again()
          }}
        />
      )}
    </article>
  )
}

function DeliveryCard({
  notice,
  delivery,
  again,
}: {
  readonly notice: NoticeDetail
  readonly delivery: NoticeDetail['deliveries'][number]
  readonly again: () => void
}) {
  const [isWorking, setWorking] = useState(false)
  async function send(): Promise<void> {
    setWorking(true)
    try {
      await api.sendAgain(notice.id, delivery.id)
      say(`It is sent again by ${delivery.channel.name}.`)
      again()
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
    setWorking(false)
  }
  return (
    <div class="card delivery">
      <div class="card-text">
        <h3>
          {delivery.channel.name} <span class="badge">{delivery.channel.type}</span>{' '}
          {delivery.revision > 0 && <span class="badge">revision {delivery.revision}</span>}
        </h3>
        <DeliveryIs delivery={delivery} />
        {delivery.state === 'waiting' && delivery.attempts > 0 && (
          <p class="muted">Given up if it has not worked by {dayAndClock(delivery.giveUpAtMs)}.</p>
        )}
      </div>
      {may('scenarios') && (
        <button type="button" class="button" disabled={isWorking} onClick={() => void send()}>
          {delivery.state === 'waiting' ? 'Send now' : 'Send again'}
        </button>
      )}
      {delivery.tries.length > 0 && (
        <details class="details delivery-tries" open={delivery.state !== 'sent'}>
          <summary>
            {delivery.tries.length === 1 ? '1 attempt' : `${number(delivery.tries.length)} attempts`}
          </summary>
          <ol class="tries">
            {delivery.tries.map((attempt) => (
              <li key={attempt.number} class="try">
                <span class="try-head">
                  <span class="muted">{attempt.number}.</span> {dayAndClock(attempt.atMs)}
                  <strong>{attempt.status ?? attempt.code ?? 'no answer'}</strong>
                  {attempt.status !== null && attempt.code !== null && <code>{attempt.code}</code>}
                  <span class="muted">{number(attempt.durationMs)} ms</span>
                </span>
                {attempt.answer && <pre class="try-answer">{attempt.answer}</pre>}
              </li>
            ))}
          </ol>
        </details>
      )}
    </div>
  )
}
