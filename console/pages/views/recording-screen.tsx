import { useSignal, useSignalEffect } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { icons } from '../parts/icons.tsx'
import { clockWithSeconds } from '../words.ts'
import type { Playback } from './playback.ts'
import { gapWords, holeAt, type RecordedDay, spanAt } from './recorded-day.ts'
import { RecordingSource, type SourceState } from './recording-source.ts'
import type { View } from './timeline-scale.ts'

/** Longer than a seek takes: only then it says that it loads. */
const LOADING_SAID_MS = 400

export interface ScreenOf {
  readonly key: string
  readonly camera: string
  /** Undefined until it is known. */
  readonly day: RecordedDay | undefined
  readonly error: string | undefined
}

/** What a camera recorded at the playhead; or that it did not, and why. */
export function RecordingScreen({
  of,
  day,
  knownToMs,
  playback,
  addressOf,
}: {
  readonly of: ScreenOf
  readonly day: View
  readonly knownToMs: number
  readonly playback: Playback
  readonly addressOf: (key: string, fromMs: number, toMs: number) => string
}) {
  const video = useRef<HTMLVideoElement>(null)
  const source = useRef<RecordingSource>(undefined)
  const state = useSignal<SourceState>('idle')
  const why = useSignal<string | undefined>(undefined)
  const isSlow = useSignal(false)
  const said = useSignal<string | undefined>(undefined)
  const current = useRef(of)
  current.current = of

  useEffect(() => {
    if (!video.current) return
    const opened = new RecordingSource({
      video: video.current,
      addressOf: (fromMs, toMs) => addressOf(of.key, fromMs, toMs),
      onState: (is, reason) => {
        state.value = is
        why.value = reason
      },
    })
    source.current = opened
    const remove = playback.add({
      key: of.key,
      source: opened,
      day: () => current.current.day ?? { stretches: [] },
    })
    return () => {
      remove()
      opened[Symbol.dispose]()
    }
  }, [of.key, playback])
  useEffect(() => playback.learnt(of.key), [of.day])

  useSignalEffect(() => {
    if (state.value !== 'loading') {
      isSlow.value = false
      return
    }
    const timer = setTimeout(() => {
      isSlow.value = true
    }, LOADING_SAID_MS)
    return () => clearTimeout(timer)
  })
  const say = () => {
    const text = sayingOf(current.current, playback.atMs.value, day, knownToMs)
    if (said.peek() !== text) said.value = text
  }
  useSignalEffect(say)
  useEffect(say, [of.day, of.error, knownToMs])

  const isHeard = playback.heard.value === of.key
  const hasPicture = said.value === undefined && state.value !== 'failed'
  return (
    <figure class="recording-screen" data-is={said.value === undefined ? state.value : 'none'}>
      <div class="screen">
        <video
          ref={video}
          class="screen-picture"
          playsInline
          muted
          preload="auto"
          aria-label={`Recording of ${of.camera}`}
          hidden={!hasPicture}
        />
        {said.value !== undefined && <p class="screen-said">{said.value}</p>}
        {said.value === undefined && state.value === 'failed' && (
          <div class="screen-said recording-failed" role="alert">
            <p>{why.value}</p>
            <button type="button" class="button" onClick={() => source.current?.again()}>
              Try again
            </button>
          </div>
        )}
        {hasPicture && isSlow.value && <p class="screen-note">Loading …</p>}
        <span class="age recording-name">{of.camera}</span>
        <button
          type="button"
          class="recording-sound"
          aria-pressed={isHeard}
          title={isHeard ? 'Mute' : 'Listen'}
          onClick={() => {
            playback.heard.value = isHeard ? undefined : of.key
          }}
        >
          {isHeard ? icons.sound() : icons.mute()}
          <span class="visually-hidden">
            {isHeard ? 'Mute' : 'Listen to'} {of.camera}
          </span>
        </button>
      </div>
    </figure>
  )
}

/** Undefined where there is a picture to be seen. */
function sayingOf(
  { day, error }: ScreenOf,
  atMs: number,
  whole: View,
  knownToMs: number,
): string | undefined {
  if (error !== undefined) return error
  if (!day) return 'Looking for recordings …'
  if (spanAt(day.stretches, atMs)) return undefined
  const gap = spanAt(day.gaps, atMs)
  if (gap) {
    const to = gap.toMs >= knownToMs ? 'until now' : `to ${clockWithSeconds(gap.toMs)}`
    return `No recording: ${gapWords(gap.why)} from ${clockWithSeconds(gap.fromMs)} ${to}`
  }
  if (atMs >= knownToMs) return 'This moment has not come yet.'
  if (day.stretches.length === 0) return 'Nothing was recorded on this day.'
  const hole = holeAt(day, atMs, whole)
  if (hole.fromMs === whole.fromMs) return `No recording before ${clockWithSeconds(hole.toMs)}`
  if (hole.toMs >= Math.min(knownToMs, whole.toMs))
    return `No recording after ${clockWithSeconds(hole.fromMs)}`
  return `No recording from ${clockWithSeconds(hole.fromMs)} to ${clockWithSeconds(hole.toMs)}`
}
