import * as api from '../api.ts'
import { Dialog } from '../parts/dialog.tsx'
import { When } from '../parts/when.tsx'
import { bytes, date, duration, number, rate } from '../words.ts'
import { type Books, droppedOf, type FlowNode, type FlowQueue, waitsSince } from './flow-graph.ts'

/** A part of the line, opened: its books, its health, its connections. */
export function FlowDetail({
  node,
  now,
  onClose,
}: {
  readonly node: FlowNode
  readonly now: number
  readonly onClose: () => void
}) {
  const { keeper, camera } = node
  return (
    <Dialog title={node.title} side onClose={onClose}>
      <p>
        <span class="tone" data-tone={node.tone}>
          <span class="dot" />
          {node.sub}
        </span>
      </p>
      {node.why && <p class="note">{node.why}</p>}
      {camera && (
        <p>
          <a href={`/cameras/${api.cameraPath(camera)}`}>Open the camera</a>
        </p>
      )}
      {node.queues.length > 0 && (
        <section>
          <h3>Books</h3>
          <p class="muted">Accepted = forwarded + waiting + dropped. Each drop has a reason.</p>
          {node.queues.map((queue) => (
            <QueueBooks key={queue.name} queue={queue} now={now} />
          ))}
        </section>
      )}
      {keeper && node.stage !== 'bridge' && (
        <>
          {Object.keys(keeper.counts ?? {}).length > 0 && (
            <section>
              <h3>Counts</h3>
              <dl class="facts">
                {Object.entries(keeper.counts ?? {}).map(([name, value]) => [
                  <dt key={`${name} name`}>{name.replaceAll('_', ' ')}</dt>,
                  <dd key={name}>{number(value)}</dd>,
                ])}
              </dl>
            </section>
          )}
          <section>
            <h3>Health</h3>
            <dl class="facts">
              {Object.entries(keeper.checks).map(([name, text]) => [
                <dt key={`${name} name`}>{name}</dt>,
                <dd key={name}>{text}</dd>,
              ])}
            </dl>
          </section>
          {keeper.links.length > 0 && (
            <section>
              <h3>Connections</h3>
              <ul class="plain">
                {keeper.links.map((link) => (
                  <li key={`${link.name} ${link.to}`}>
                    <span class="tone" data-tone={link.connected ? 'good' : 'bad'}>
                      <span class="dot" />
                      {link.connected ? 'Connected' : 'Not connected'}
                    </span>{' '}
                    to <span class="breaks">{link.to}</span> <span class="muted">({link.name})</span>
                  </li>
                ))}
              </ul>
            </section>
          )}
          {(keeper.certificates?.length ?? 0) > 0 && (
            <section>
              <h3>Certificates</h3>
              <ul class="plain">
                {keeper.certificates?.map(({ name, endsAtMs }) => (
                  <li key={name}>
                    <span class="breaks">{name}</span>{' '}
                    <span class="muted">
                      {endsAtMs > now
                        ? `expires in ${duration(endsAtMs - now)}, on ${date(endsAtMs)}`
                        : 'has expired'}
                    </span>
                  </li>
                ))}
              </ul>
            </section>
          )}
          <section>
            <h3>Program</h3>
            <dl class="facts">
              <dt>Version</dt>
              <dd>{keeper.version}</dd>
              <dt>Started</dt>
              <dd>
                <When atMs={keeper.startedAtMs} />
              </dd>
              <dt>Last report</dt>
              <dd>
                <When atMs={keeper.seenAtMs} />
              </dd>
              <dt>Reports as</dt>
              <dd class="mono breaks">{keeper.keeper}</dd>
            </dl>
          </section>
        </>
      )}
    </Dialog>
  )
}

function QueueBooks({ queue, now }: { readonly queue: FlowQueue; readonly now: number }) {
  const since = waitsSince(queue, now)
  const dropped = droppedOf(queue)
  return (
    <div class="books">
      <h4 class="breaks">
        {queue.name} {queue.kind === 'clips' && <span class="badge">clips</span>}
      </h4>
      <BooksBar books={queue} />
      <dl class="facts">
        <dt>Accepted</dt>
        <dd>{number(queue.accepted)}</dd>
        <dt>Forwarded</dt>
        <dd>
          {number(queue.forwarded)} <span class="muted">{rate(queue.perS)} a second</span>
        </dd>
        <dt>Waiting</dt>
        <dd>
          {number(queue.pending)}
          {queue.pending > 0 && <span class="muted"> {bytes(queue.bytes)}</span>}
          {since !== undefined && (
            <span class="note">The oldest has waited for {duration(now - since)}.</span>
          )}
        </dd>
        <dt>Dropped</dt>
        <dd>
          {number(dropped)}
          {Object.entries(queue.dropped)
            .filter(([, count]) => count > 0)
            .map(([reason, count]) => (
              <span key={reason} class="note">
                {number(count)}: {reason}
              </span>
            ))}
        </dd>
      </dl>
    </div>
  )
}

/** What became of what was accepted, as shares of a bar. */
function BooksBar({ books }: { readonly books: Books }) {
  const parts = [
    ['forwarded', books.forwarded],
    ['pending', books.pending],
    ['dropped', droppedOf(books)],
  ] as const
  return (
    <span class="books-bar" aria-hidden="true">
      {parts.map(([is, count]) => count > 0 && <span key={is} data-is={is} style={{ flexGrow: count }} />)}
    </span>
  )
}
