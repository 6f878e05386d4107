import { Agent } from '../device/agent.ts'
import { deviceSchema } from '../device/config.ts'
import { type Evaluation, evaluate, sum } from '../device/detect/evaluate.ts'
import { openDetector } from '../device/detect/open.ts'
import { overlap } from '../device/detect/suppress.ts'
import { type Size, toFrame } from '../device/faces/crop.ts'
import type { Frame } from '../device/frame.ts'
import { SCORE_LOW } from '../device/limits.ts'
import { openMeters } from '../device/meters.ts'
import { Crossings } from '../device/sources/crossings.ts'
import { CARD_SIZE, type DrawnFace, Testcard } from '../device/sources/testcard.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics, total } from '../lib/metrics.ts'
import { sharedData } from '../test/kit/data.ts'
import { type CropMetadata, readCrop } from '../wire/crop.ts'
import { eventSchema, type FaceEvent } from '../wire/event.ts'

/**
 * Portraits that cross a scene with occlusions (`testcard:crossings`), through the whole agent with `emit: best`:
 * what was found against what was drawn, and how many crops and tracks came of each crossing.
 */
export interface CrossingsOptions {
  readonly crossings: number
  readonly seed?: number
  /** Only each so-manieth frame is looked at, as on a slow machine. */
  readonly everyNth?: number
}

export interface CrossingsResult {
  readonly crossings: number
  readonly frames: number
  /** Of faces of 40 px and more that nothing hides. */
  readonly detection: Evaluation
  /** Crops of each crossing: 1 is what is wanted. */
  readonly cropsOf: readonly number[]
  /** Tracks whose events were seen of each crossing. */
  readonly tracksOf: readonly number[]
  /** Crops that show no face of the card, or not the one of their track's. */
  readonly wrongCrops: number
  /** Of crops: the overlap of their box with the face that was drawn, the least and the mean. */
  readonly overlapMin: number
  readonly overlapMean: number
  readonly shownMin: number
  readonly sharpnessMin: number
  readonly made: number
  readonly detected: number
  readonly passedOver: number
  readonly events: readonly FaceEvent[]
  readonly crops: readonly CropMetadata[]
}

const SIDE_MIN = 40
/** As everywhere with these models: their boxes are not the drawing's. */
const OVERLAP_MIN = 0.4
/** A face of which less is seen may be found or not. */
const SHOWN_MIN = 0.95
/** A detection that has this much of a drawn face is not wrong, even where most of it is hidden. */
const OVERLAP_RIGHT = 0.3
const START_MS = Date.UTC(2026, 10, 20, 13)

export async function benchCrossings(options: CrossingsOptions): Promise<CrossingsResult> {
  const { crossings, seed, everyNth = 1 } = options
  const frames = Crossings.framesOf(crossings)
  await using detector = await openDetector({ scoreLow: SCORE_LOW })
  const log = openLog('bench', 'warn')
  const events = { skipped() {}, damaged() {} }
  const signal = new AbortController().signal
  const card = await Testcard.open(
    { seed, draw: Crossings.draw, frames },
    { input: detector.input, log, events },
    signal,
  )
  const evaluations: Evaluation[] = []
  const numberOf = new WeakMap<Uint8Array, number>()
  const judging = {
    model: detector.model,
    runtime: detector.runtime,
    input: detector.input,
    scoreMin: detector.scoreMin,
    async detect(picture: Frame['scaled']) {
      const found = await detector.detect(picture)
      const number = numberOf.get(picture.data) as number
      const sure = found
        .filter(({ score }) => score >= detector.scoreMin)
        .map((it) => ({ ...it, box: toFrame(it.box, picture, CARD_SIZE) }))
      evaluations.push(judge(sure, card.faces(number)))
      return found
    },
    [Symbol.asyncDispose]: async () => {},
  }
  const source = {
    name: 'crossings',
    live: false,
    lossless: true,
    async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
      for (let number = 0; number < frames; number += everyNth) {
        const frame = card.frame(number)
        numberOf.set(frame.scaled.data, number)
        // The frame's number can be read off its time.
        yield { ...frame, capturedAtMs: START_MS + number }
      }
    },
    [Symbol.asyncDispose]: async () => {},
  }
  const crops: CropMetadata[] = []
  const said: FaceEvent[] = []
  const meters = openMeters(openMetrics('bench'))
  const agent = new Agent({
    config: loadConfig(deviceSchema, {
      overrides: { cameras: [{ name: 'crossings', source: 'testcard:crossings' }] },
    }),
    detector: judging,
    meters,
    log,
    open: async () => source,
    publisher: {
      offer({ payload }) {
        const reading = readCrop(payload)
        if (!('crop' in reading)) throw new Error(`no crop: ${reading.fault} ${reading.detail}`)
        crops.push(reading.crop)
      },
      room: async () => {},
      say: ({ payload }) => said.push(eventSchema.parse(JSON.parse(payload))),
    },
    onState: () => {},
  })
  await agent.run(signal)

  const cropsOf = new Array<number>(crossings).fill(0)
  const tracksOf = new Array<number>(crossings).fill(0)
  const overlaps: number[] = []
  const shown: number[] = []
  let wrongCrops = 0
  for (const { box, capturedAtMs } of crops) {
    const face = nearest(card.faces(capturedAtMs - START_MS), box)
    if (!face || overlap(face.box, box) < OVERLAP_MIN) wrongCrops += 1
    else {
      overlaps.push(overlap(face.box, box))
      shown.push(face.shown)
      if ((face.id as number) < crossings)
        cropsOf[face.id as number] = (cropsOf[face.id as number] as number) + 1
    }
  }
  for (const { type, before } of said) {
    if (type !== 'new') continue
    const face = nearest(card.faces(before.seenMs - START_MS), before.box)
    if (face && (face.id as number) < crossings)
      tracksOf[face.id as number] = (tracksOf[face.id as number] as number) + 1
  }
  return {
    crossings,
    frames: Math.ceil(frames / everyNth),
    detection: sum(evaluations),
    cropsOf,
    tracksOf,
    wrongCrops,
    overlapMin: Math.min(...overlaps),
    overlapMean: overlaps.reduce((a, b) => a + b, 0) / overlaps.length,
    shownMin: Math.min(...shown),
    sharpnessMin: Math.min(...crops.map(({ quality }) => quality?.sharpness ?? 0)),
    made: await total(meters.cropsMade),
    detected: await total(meters.facesDetected),
    passedOver: await total(meters.facesPassedOver),
    events: said,
    crops,
  }
}

/** A face that is partly hidden may be found or not; a detection is wrong where no face is. */
function judge(
  found: readonly {
    box: DrawnFace['box']
    score: number
    landmarks: readonly (readonly [number, number])[]
  }[],
  drawn: readonly DrawnFace[],
): Evaluation {
  const whole = drawn.filter(({ box, shown }) => shown >= SHOWN_MIN && Math.min(box[2], box[3]) >= SIDE_MIN)
  const partly = drawn.filter((face) => !whole.includes(face) && face.shown > 0)
  const result = evaluate(
    found,
    whole.map(({ box }) => box),
    OVERLAP_MIN,
  )
  const excused = found.filter(
    ({ box }) =>
      !whole.some((face) => overlap(face.box, box) >= OVERLAP_MIN) &&
      partly.some((face) => overlap(face.box, box) >= OVERLAP_RIGHT),
  ).length
  return sum([{ ...result, falsePositives: Math.max(0, result.falsePositives - excused) }])
}

function nearest(faces: readonly DrawnFace[], box: DrawnFace['box']): DrawnFace | undefined {
  return faces.toSorted(
    (a, b) => overlap(b.box, box) * Math.sign(b.shown) - overlap(a.box, box) * Math.sign(a.shown),
  )[0]
}

export function printCrossings(result: CrossingsResult, what: string): void {
  const row = (name: string, value: string) => console.log(`${name.padEnd(38)}${value}`)
  const counts = (list: readonly number[]) => {
    const of = (count: number) => list.filter((it) => it === count).length
    const more = list.filter((it) => it > 2).length
    return `none ${of(0)}, one ${of(1)}, two ${of(2)}${more > 0 ? `, more ${more}` : ''}`
  }
  console.log(`\n${what}: ${result.crossings} crossings, ${result.frames} frames\n`)
  row('crops of each crossing', counts(result.cropsOf))
  row('tracks of each crossing', counts(result.tracksOf))
  row('crops without their face', String(result.wrongCrops))
  row(
    'crop against drawn face, IoU',
    `${result.overlapMean.toFixed(2)}, least ${result.overlapMin.toFixed(2)}`,
  )
  row('least of a face that a crop shows', `${(100 * result.shownMin).toFixed(0)} %`)
  row(
    'detection, faces of 40 px and more',
    `recall ${result.detection.recall.toFixed(4)}, precision ${result.detection.precision.toFixed(4)}`,
  )
  row('detected = crops + passed over', `${result.detected} = ${result.made} + ${result.passedOver}`)
}

/** What of the crossings went wrong, for a look: their tracks' ends and beginnings. */
export function explain({ cropsOf, events }: CrossingsResult): string[] {
  return cropsOf
    .flatMap((count, id) => (count === 1 ? [] : [`crossing ${id}: ${count} crops`]))
    .concat(
      events
        .filter(({ type }) => type === 'end')
        .map(
          ({ after }) =>
            `${after.id.slice(-6)} frames ${after.startMs - START_MS} to ${after.seenMs - START_MS}, ends at ${after.box.map(Math.round)}, crops ${after.crops}`,
        ),
    )
}

/** Portraits whose faces are 40 to 80 px wide. */
const PORTRAIT_WIDTH_SMALL = { least: 80, most: 138 } as const
const SMALL_FRAMES = 1200
const SMALL_EVERY_NTH = 4
/** By what they are made for: the default sees a card of 1280 px at 256, where 40 px are 8. */
const SMALL_MODELS = ['yunet_s_640_640.onnx', 'yunet_n_640_640.onnx', 'ultraface-version-RFB-640.onnx']

/** Detection alone, of faces of 40 to 80 px in the same scene. @param model a file, or absent: the default */
export async function benchSmallFaces(model?: string, inputSize?: Size): Promise<Evaluation> {
  await using detector = await openDetector({ model, inputSize })
  const card = await Testcard.open(
    { draw: (input, seed) => Crossings.draw(input, seed, PORTRAIT_WIDTH_SMALL), frames: SMALL_FRAMES },
    { input: detector.input, log: openLog('bench', 'warn'), events: { skipped() {}, damaged() {} } },
    new AbortController().signal,
  )
  const evaluations: Evaluation[] = []
  for (let number = 0; number < SMALL_FRAMES; number += SMALL_EVERY_NTH) {
    const frame = card.frame(number)
    const found = (await detector.detect(frame.scaled)).map((it) => ({
      ...it,
      box: toFrame(it.box, frame.scaled, frame),
    }))
    evaluations.push(judge(found, card.faces(number)))
  }
  return sum(evaluations)
}

async function runSmallFaces(): Promise<void> {
  console.log('\nFaces of 40 to 80 px in the same scene, detection alone\n')
  const row = (name: string, { recall, precision }: Evaluation) =>
    console.log(`${name.padEnd(38)}recall ${recall.toFixed(4)}, precision ${precision.toFixed(4)}`)
  row('the default model, at 256', await benchSmallFaces())
  row('the default model, at 640', await benchSmallFaces(undefined, { width: 640, height: 640 }))
  for (const name of SMALL_MODELS) {
    const file = sharedData(`models/${name}`)
    if (file) row(name, await benchSmallFaces(file))
  }
}

export async function runCrossings(crossings: number): Promise<void> {
  await runSmallFaces()
  for (const everyNth of [1, 2, 3, 4])
    printCrossings(
      await benchCrossings({ crossings, everyNth }),
      `emit best, ${12 / everyNth} frames a second`,
    )
}

if (import.meta.main) await runCrossings(Number(process.argv[2] ?? 100))
