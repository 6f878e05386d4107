import { useSignal, useSignalEffect } from '@preact/signals'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Camera } from '../../api/cameras.ts'
import * as api from '../api.ts'
import { useLoaded } from '../loaded.ts'
import { nowMs } from '../now.ts'
import { KeysHelp } from '../parts/keys-help.tsx'
import { murmur, say } from '../parts/said.tsx'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import * as recordings from '../recordings.ts'
import { ask, place } from '../router.ts'
import { may } from '../session.ts'
import { style } from '../styles.ts'
import { cameraKey, clockWithSeconds, day as dayWords } from '../words.ts'
import { Playback } from './playback.ts'
import { RecordingChoice } from './recording-choice.tsx'
import { RecordingControls } from './recording-controls.tsx'
import { useDays } from './recording-days.ts'
import { RecordingFacts } from './recording-facts.tsx'
import { RecordingScreen } from './recording-screen.tsx'
import { type Marked, recordedWords, Timeline } from './timeline.tsx'
import { dayNamed, dayOf, following, MINUTE_MS, spanned, type View, zoomed } from './timeline-scale.ts'

await style('recordings.css')

/** A day of one camera, or of several in step. */

export const CAMERAS_MAX = 4
/** What the live edge is behind now: a chunk, and its way. */
const EDGE_MS = 10_000
const SECOND_MS = 1000

const KEYS = [
  ['space', 'play, or pause'],
  ['← →', 'a second back, or on'],
  ['Shift ← →', 'a minute back, or on'],
  ['f', 'next face'],
  ['F', 'previous face'],
  ['g', 'go to a time'],
  ['Home End', 'beginning of the day, or the newest'],
  ['i o', 'mark the beginning, or the end, of a stretch'],
  ['+ −', 'closer, or wider'],
  ['?', 'this help'],
] as const

export default function RecordingsPage() {
  if (!may('recordings'))
    return (
      <div class="page">
        <h1>Recordings</h1>
        <Empty title="You may not see recordings.">
          Whoever manages the users can give you the right to: <code>recordings</code>
        </Empty>
      </div>
    )
  return <Allowed />
}

function Allowed() {
  const cameras = useLoaded('cameras', api.cameras)
  return (
    <div class="page page-wide recordings">
      <Shown
        of={cameras}
        waiting={
          <>
            <h1>Recordings</h1>
            <Waiting shape="block" rows={2} />
          </>
        }
      >
        {({ items }) => <Recordings cameras={items} />}
      </Shown>
    </div>
  )
}

function Recordings({ cameras }: { readonly cameras: readonly Camera[] }) {
  const recorded = useLoaded('recorded cameras', recordings.cameras)
  const { query } = place.value
  const asked = (query.get('camera') ?? '').split(',').filter((key) => key !== '')
  const known = new Set([...cameras.map(cameraKey), ...(recorded.value?.items ?? []).map(cameraKey)])
  const first = (recorded.value?.items ?? [])[0]
  const keys = (asked.length > 0 ? asked : first ? [cameraKey(first)] : []).slice(0, CAMERAS_MAX)
  const atAsked = Number(query.get('at') ?? Number.NaN)
  const day = dayNamed(query.get('day') ?? '') ?? dayOf(Number.isFinite(atAsked) ? atAsked : Date.now())
  return (
    <>
      <header class="page-head">
        <div>
          <h1>Recordings</h1>
          <p class="page-sub">
            {dayWords(day.fromMs)} <span class="muted">· {zoneName()}</span>
          </p>
        </div>
        <RecordingChoice
          day={day}
          keys={keys}
          known={[...known].sort()}
          camerasMax={CAMERAS_MAX}
          choose={(chosen) => ask({ camera: chosen.join(',') })}
          turn={(name) => ask({ day: name, at: undefined })}
        />
      </header>
      <Shown of={recorded} waiting={<Waiting shape="block" rows={2} />}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="No recordings yet.">
              Set <code>record</code> of a camera in the settings of its agent, or switch it on at the page of
              a camera: <a href="/cameras">Cameras</a>
            </Empty>
          ) : (
            <Day
              key={`${day.fromMs}`}
              keys={keys}
              day={day}
              startMs={Number.isFinite(atAsked) ? atAsked : undefined}
            />
          )
        }
      </Shown>
    </>
  )
}

const zoneName = () => Intl.DateTimeFormat().resolvedOptions().timeZone
const titleOf = (key: string) => key.split('/').at(-1) ?? key

function Day({
  keys,
  day,
  startMs,
}: {
  readonly keys: readonly string[]
  readonly day: View
  readonly startMs: number | undefined
}) {
  const view = useSignal<View>(startMs === undefined ? day : spanned(day, 10 * MINUTE_MS, startMs))
  const days = useDays(keys, day, view)
  const [playback] = useState(() => new Playback(startMs ?? day.fromMs))
  const [marked, setMarked] = useState<Marked>({ inMs: undefined, outMs: undefined })
  const [isHelped, setHelped] = useState(false)
  const [isFollowing, setFollowing] = useState(false)
  const going = useRef<HTMLInputElement>(null)
  const hasBegun = useRef(startMs !== undefined)
  const knownToMs = Math.min(day.toMs, nowMs.value)
  const all = keys.flatMap((key) => days.of.get(key)?.day ?? [])

  useEffect(() => {
    playback.start()
    return () => playback[Symbol.dispose]()
  }, [playback])

  // Without a moment asked for: the beginning of the newest stretch.
  useEffect(() => {
    const starts = all.flatMap(({ stretches }) => stretches.at(-1)?.fromMs ?? [])
    if (hasBegun.current || starts.length === 0) return
    hasBegun.current = true
    playback.seek(Math.max(...starts, day.fromMs))
  }, [all])

  useSignalEffect(() => {
    if (!playback.isPlaying.value) return
    view.value = following(view.peek(), day, playback.atMs.value)
  })
  useSignalEffect(() => {
    const skipped = playback.skipped.value
    if (skipped) say(`Nothing recorded until ${clockWithSeconds(skipped.toMs)}: went on there.`)
  })

  // Away from the edge nothing is followed any more.
  const seek = (atMs: number, isPassing = false) => {
    setFollowing(false)
    playback.seek(Math.min(Math.max(atMs, day.fromMs), day.toMs - 1), { isPassing })
    if (isPassing) return
    view.value = following(view.peek(), day, playback.atMs.peek())
    ask({ at: String(Math.round(playback.atMs.peek())) })
  }
  const edgeMs = Math.max(day.fromMs, ...all.flatMap(({ stretches }) => stretches.at(-1)?.toMs ?? []))
  const toEdge = () => {
    seek(Math.max(day.fromMs, Math.min(edgeMs, knownToMs) - EDGE_MS))
    setFollowing(knownToMs < day.toMs)
    playback.play()
  }
  useEffect(() => {
    playback.waitsAtEnd = isFollowing
  }, [isFollowing])

  async function toFace(to: 'next' | 'previous'): Promise<void> {
    try {
      const face = await recordings.faceBeside(keys, playback.atMs.peek(), to)
      if (!face) {
        say(`No ${to === 'next' ? 'later' : 'earlier'} face.`)
        return
      }
      murmur(`Face at ${face.camera}, ${clockWithSeconds(face.atMs)}`)
      const other = dayOf(face.atMs)
      if (other.fromMs === day.fromMs) seek(face.atMs)
      else ask({ day: undefined, at: String(face.atMs) })
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), { isError: true })
    }
  }
  const zoom = (factor: number) => {
    view.value = zoomed(view.peek(), day, factor, playback.atMs.peek())
  }
  const markIn = () =>
    setMarked((old) => {
      const inMs = playback.atMs.peek()
      return { inMs, outMs: old.outMs !== undefined && old.outMs > inMs ? old.outMs : undefined }
    })
  const markOut = () =>
    setMarked((old) => {
      const outMs = playback.atMs.peek()
      return { inMs: old.inMs !== undefined && old.inMs < outMs ? old.inMs : undefined, outMs }
    })

  useEffect(() => {
    const step = (ms: number) => seek(playback.atMs.peek() + ms)
    const onKey = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector('dialog[open]')) return
      const { target } = event
      if (target instanceof HTMLElement && target.matches('input, select, textarea')) return
      // A button's own key, and a link's.
      if (event.key === ' ' && target instanceof HTMLElement && target.matches('button, a, summary')) return
      const act = {
        ' ': () => playback.toggle(),
        ArrowLeft: () => step(event.shiftKey ? -MINUTE_MS : -SECOND_MS),
        ArrowRight: () => step(event.shiftKey ? MINUTE_MS : SECOND_MS),
        f: () => void toFace('next'),
        F: () => void toFace('previous'),
        g: () => going.current?.focus(),
        Home: () => seek(day.fromMs),
        End: toEdge,
        i: markIn,
        o: markOut,
        '+': () => zoom(0.5),
        '-': () => zoom(2),
        '?': () => setHelped(true),
      }[event.key]
      if (!act) return
      event.preventDefault()
      act()
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  })

  const rows = useMemo(
    () => keys.map((key) => ({ key, title: titleOf(key), day: days.of.get(key)?.day })),
    [keys.join(), days.of],
  )
  const words = (atMs: number) =>
    `${clockWithSeconds(atMs)}. ${rows
      .map(({ title, day: its }) =>
        its ? `${rows.length > 1 ? `${title}: ` : ''}${recordedWords(its, atMs, knownToMs)}` : '',
      )
      .join('. ')}`
  return (
    <>
      <div class="recording-screens" data-count={keys.length}>
        {keys.map((key) => (
          <RecordingScreen
            key={key}
            of={{
              key,
              camera: titleOf(key),
              day: days.of.get(key)?.day,
              error: days.of.get(key)?.error,
            }}
            day={day}
            knownToMs={knownToMs}
            playback={playback}
            addressOf={recordings.playlistAddress}
          />
        ))}
      </div>
      <RecordingControls
        playback={playback}
        day={day}
        view={view}
        goingField={going}
        isToday={knownToMs < day.toMs}
        isFollowing={isFollowing}
        seek={seek}
        toFace={(to) => void toFace(to)}
        toEdge={toEdge}
        zoom={zoom}
      />
      <Timeline
        rows={rows}
        day={day}
        view={view}
        atMs={playback.atMs}
        marked={marked}
        knownToMs={knownToMs}
        seek={seek}
        words={words}
      />
      <Legend help={() => setHelped(true)} />
      <RecordingFacts
        keys={keys}
        days={days.of}
        marked={marked}
        mark={{ in: markIn, out: markOut, set: setMarked }}
        seek={seek}
        again={days.again}
      />
      {isHelped && <KeysHelp keys={KEYS} onClose={() => setHelped(false)} />}
    </>
  )
}

const Legend = ({ help }: { readonly help: () => void }) => (
  <p class="timeline-legend">
    <span>
      <i class="timeline-sample" data-is="recorded" /> recorded
    </span>
    <span>
      <i class="timeline-sample" data-is="motion" /> motion
    </span>
    <span>
      <i class="timeline-sample" data-is="gap" /> not recorded
    </span>
    <span>
      <i class="timeline-sample" data-is="loss" /> camera down, or lost
    </span>
    <span>
      <i class="timeline-sample" data-is="kept" /> kept
    </span>
    <span>
      <i class="timeline-sample" data-is="face" /> faces
    </span>
    <button type="button" class="link-button timeline-keys" onClick={help}>
      Keys
    </button>
  </p>
)
