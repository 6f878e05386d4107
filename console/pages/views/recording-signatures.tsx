import { useEffect, useRef, useState } from 'preact/hooks'
import type { RecordingChain, RecordingVerified } from '../../api/signatures.ts'
import { useLoaded } from '../loaded.ts'
import { Failed, Shown, Waiting } from '../parts/states.tsx'
import * as recordings from '../recordings.ts'
import { bytes, clockWithSeconds, count, number } from '../words.ts'
import { gapWords, type Span } from './recorded-day.ts'

/** By whom a stretch is signed, and whether all of it is there; on request, whether it is as it was signed. */

/** Read at once for checking. */
const VERIFY_MS_MAX = 3_600_000
/** Of a day the chain is told. */
const CHAIN_MS_MAX = 24 * 3_600_000

export function RecordingSignatures({ camera, span }: { readonly camera: string; readonly span: Span }) {
  const isShort = span.toMs - span.fromMs <= CHAIN_MS_MAX
  const chain = useLoaded(`chain ${camera} ${span.fromMs} ${span.toMs}`, (signal) =>
    isShort ? recordings.chain(camera, span, signal) : Promise.resolve(undefined),
  )
  const [verified, setVerified] = useState<RecordingVerified | undefined>(undefined)
  const [error, setError] = useState<unknown>(undefined)
  const [isReading, setReading] = useState(false)
  const reading = useRef<AbortController>(undefined)
  useEffect(() => () => reading.current?.abort(), [])
  const verify = async () => {
    const controller = new AbortController()
    reading.current = controller
    setReading(true)
    setError(undefined)
    try {
      setVerified(await recordings.verify(camera, span, controller.signal))
    } catch (problem) {
      if (!controller.signal.aborted) setError(problem)
    }
    setReading(false)
  }
  return (
    <section class="signatures" aria-label="Signatures">
      <h3>Signatures</h3>
      <Shown of={chain} waiting={<Waiting rows={1} />}>
        {(value) => value && <Chain chain={value} />}
      </Shown>
      {verified && <Verified verified={verified} />}
      {error !== undefined && <Failed error={error} />}
      {chain.value !== undefined && chain.value.signed > 0 && (
        <p class="buttons">
          {isReading ? (
            <>
              <progress aria-label="Reading and checking" />
              <button type="button" class="button" onClick={() => reading.current?.abort()}>
                Stop
              </button>
            </>
          ) : (
            <button
              type="button"
              class="button"
              disabled={span.toMs - span.fromMs > VERIFY_MS_MAX}
              onClick={() => void verify()}
            >
              Read and verify
            </button>
          )}
          {span.toMs - span.fromMs > VERIFY_MS_MAX && (
            <span class="muted">At most an hour at once; all of it: sightline verify</span>
          )}
        </p>
      )}
    </section>
  )
}

function Chain({ chain }: { readonly chain: RecordingChain }) {
  const { chunks, signed, signers, isUnbroken, findings } = chain
  const wrong = findings.filter((it) => it.isWrong)
  if (signed === 0)
    return (
      <p class="muted">
        Not signed. A device signs what it records when it has a signing key: <code>sightline certs</code>
      </p>
    )
  return (
    <>
      <p>
        <span class="tone" data-tone={isUnbroken ? 'good' : 'bad'}>
          <span class="dot" />
          {isUnbroken
            ? 'The chain is whole'
            : wrong.length > 0
              ? `The chain is broken at ${clockWithSeconds(wrong[0]?.toMs ?? 0)}`
              : `${number(chunks - signed)} of ${count(chunks, 'chunk')} are not signed`}
        </span>
      </p>
      <ul class="plain">
        {signers.map(({ key, device, chunks: many }) => (
          <li key={key}>
            Signed by {device ?? 'a key that the console does not know'}{' '}
            <span class="muted">
              {signers.length > 1 && `${count(many, 'chunk')}, `}
              <span class="mono" title={key}>
                {key.slice(0, 16)}
              </span>
            </span>
          </li>
        ))}
      </ul>
      <Findings findings={findings} />
    </>
  )
}

function Verified({ verified }: { readonly verified: RecordingVerified }) {
  const { isRight, chunks, verdicts, wrong, findings } = verified
  return (
    <div class={isRight ? 'signatures-right' : 'note'} role="status">
      <p>
        {isRight
          ? `${count(chunks, 'chunk')} (${bytes(verified.bytes)}) read: each is as its device signed it, and none is missing.`
          : `Read ${count(chunks, 'chunk')} (${bytes(verified.bytes)}): ${verdicts
              .map(({ verdict, chunks: many }) => `${number(many)} ${verdict}`)
              .join(', ')}.`}
      </p>
      {wrong.length > 0 && (
        <ul class="plain">
          {wrong.map(({ id, atMs, verdict, detail }) => (
            <li key={id}>
              {clockWithSeconds(atMs)}: {verdict}. {detail}
            </li>
          ))}
        </ul>
      )}
      {!isRight && <Findings findings={findings} />}
    </div>
  )
}

const WORDS: Readonly<Record<RecordingChain['findings'][number]['is'], string>> = {
  begins: 'the chain begins',
  missing: 'chunks are missing',
  reordered: 'a chunk is not in its place',
  duplicate: 'a chunk is there twice',
  forked: 'two chunks follow the same one',
  anew: 'the chain begins anew',
  gap: 'not recorded',
}

function Findings({ findings }: Pick<RecordingChain, 'findings'>) {
  const said = findings.filter(({ is, isWrong }) => isWrong || is === 'gap' || is === 'anew')
  if (said.length === 0) return null
  return (
    <ul class="plain">
      {said.map(({ is, isWrong, fromMs, toMs, count: many, why }, index) => (
        <li key={index} class={isWrong ? 'signatures-wrong' : 'muted'}>
          {fromMs !== null && fromMs !== toMs && `${clockWithSeconds(fromMs)} – `}
          {clockWithSeconds(toMs)}: {many !== null && `${number(many)} `}
          {WORDS[is]}
          {why !== null && ` (${gapWords(why)})`}
        </li>
      ))}
    </ul>
  )
}
