import { useState } from 'preact/hooks'
import type { Share } from '../../api/shares.ts'
import * as access from '../access.ts'
import { queryText } from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { nowMs } from '../now.ts'
import { Confirm } from '../parts/confirm.tsx'
import { say } from '../parts/said.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { may } from '../session.ts'
import { count, date } from '../words.ts'
import { Whose, type WhoseValue } from './people-whose.tsx'

/** Links for people without an account: how often each was opened, until when, and an end to each. */
export function Shares() {
  const [whose, setWhose] = useState<WhoseValue>('mine')
  const shares = useLoaded(`shares ${whose}`, (signal) => access.shares(whose, signal))
  const [ending, setEnding] = useState<Share | undefined>(undefined)
  return (
    <section aria-labelledby="shares">
      <div class="section-head">
        <h2 id="shares">Shares</h2>
        {may('people') && <Whose whose={whose} choose={setWhose} />}
      </div>
      <Shown of={shares}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="No links.">
              Open <a href="/faces">a face, or search</a>, and choose “Share”.
            </Empty>
          ) : (
            <ul class="cards">
              {items.map((share) => (
                <li key={share.id} class="card">
                  <div class="card-text">
                    <strong class="breaks">{share.name}</strong>{' '}
                    <span class="badge">
                      {share.recording !== null
                        ? 'a recording'
                        : share.detection === null
                          ? 'a search'
                          : 'a face'}
                    </span>
                    {whose === 'all' && <span class="badge">{share.user}</span>}
                    {share.expiresAtMs < nowMs.value && <span class="badge badge-bad">expired</span>}
                    <p class="muted">
                      Created <When atMs={share.createdAtMs} />, expires {date(share.expiresAtMs)}; opened{' '}
                      {count(share.views, 'time')}
                      {share.viewedAtMs !== null && (
                        <>
                          , last <When atMs={share.viewedAtMs} />
                        </>
                      )}
                    </p>
                    {share.recording !== null && (
                      <a
                        href={`/recordings${queryText({ camera: share.recording.camera, at: String(share.recording.fromMs) })}`}
                      >
                        Open the recording
                      </a>
                    )}
                    {share.detection !== null && <a href={`/faces/${share.detection}`}>Open the face</a>}
                  </div>
                  <div class="buttons">
                    <button type="button" class="button button-danger" onClick={() => setEnding(share)}>
                      Revoke
                    </button>
                  </div>
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
      {ending && (
        <Confirm
          title={`Revoke “${ending.name}”?`}
          word="Revoke"
          onClose={() => setEnding(undefined)}
          act={async () => {
            await access.revokeShare(ending.id)
            shares.again()
            say('The link was revoked.')
          }}
        >
          The link shows nothing from now on, to anyone.
        </Confirm>
      )}
    </section>
  )
}
