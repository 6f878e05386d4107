import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { z } from 'zod'
import type { DeviceConfig } from '../../device/config.ts'
import { averagePrecision, evaluate, judge, sum } from '../../device/detect/evaluate.ts'
import { readPhoto } from '../../device/detect/photo.ts'
import type { Box } from '../../device/detect/suppress.ts'
import { toFrame } from '../../device/faces/crop.ts'
import { MASK_LABELS } from '../../device/process/mask-detector.ts'
import { failure, systemCode } from '../../lib/errors.ts'
import { readCatalog } from '../../models/catalog.ts'
import { type Chosen, chosenDetect, openChosen } from './options.ts'

const BOXES_FILE = 'boxes.json'
/** Average precision asks what a model finds at every threshold; below this there is noise alone. */
const SCORE_MIN_CURVE = 0.05

const boxesSchema = z.record(z.string(), z.array(z.tuple([z.number(), z.number(), z.number(), z.number()])))

const IOU_DEFAULT = 0.4

/**
 * Prints a detector's recall, precision and average precision, or how often a classifier is right.
 * @param iou how much boxes must overlap; of detectors only
 * Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE; those of opening a model.
 */
export async function evaluateFolder(
  folder: string,
  chosen: Chosen,
  iou: number | undefined,
  json: boolean,
): Promise<number> {
  const detect = chosenDetect(chosen)
  if (await isOfLabels(folder, detect)) {
    if (iou !== undefined)
      throw failure('USAGE', '--iou is for detectors: what a classifier says has no boxes.')
    const useless = (['input', 'runtime', 'provider'] as const).find((option) => chosen[option] !== undefined)
    if (useless !== undefined)
      throw failure(
        'USAGE',
        `--${useless} is for detectors: a classifier runs on ONNX Runtime's CPU, at its entry's input size.`,
      )
    const { evaluateLabels } = await import('./eval-labels.ts')
    return await evaluateLabels(folder, chosen, json)
  }
  return await evaluateBoxes(folder, detect, iou ?? IOU_DEFAULT, json)
}

/** Whether it is crops in folders named like labels, which a classifier is shown; a detector with classes, where there are no boxes. */
async function isOfLabels(
  folder: string,
  { model, modelFolder, catalog }: DeviceConfig['detect'],
): Promise<boolean> {
  const entry = readCatalog(modelFolder, catalog).entries.get(model)
  if (entry?.classify) return true
  if (existsSync(join(folder, BOXES_FILE))) return false
  const found = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return found.some((it) => it.isDirectory() && MASK_LABELS.includes(it.name))
}

async function evaluateBoxes(
  folder: string,
  detect: DeviceConfig['detect'],
  iou: number,
  json: boolean,
): Promise<number> {
  const truth = await readBoxes(join(folder, BOXES_FILE))
  const scoreMin = await usualScoreMin(detect)
  await using detector = await openChosen(detect, Math.min(scoreMin, SCORE_MIN_CURVE))
  const evaluations = []
  const judged = []
  let faces = 0
  for (const [name, boxes] of Object.entries(truth)) {
    const photo = await readPhoto(join(folder, name), detector.input)
    const found = (await detector.detect(photo.scaled)).map((face) => ({
      ...face,
      box: toFrame(face.box, photo.scaled, photo),
    }))
    // What scores less suppresses nothing that scores more: the same as with the threshold in the detector.
    evaluations.push(
      evaluate(
        found.filter(({ score }) => score >= scoreMin),
        boxes,
        iou,
      ),
    )
    judged.push(...judge(found, boxes, iou))
    faces += boxes.length
  }
  const { recall, precision, truePositives, falsePositives, falseNegatives } = sum(evaluations)
  const result = {
    model: detector.model,
    runtime: detector.runtime,
    input: detector.input,
    scoreMin,
    iou,
    photos: evaluations.length,
    faces,
    recall: thousandth(recall),
    precision: thousandth(precision),
    averagePrecision: thousandth(averagePrecision(judged, faces)),
    truePositives,
    falsePositives,
    falseNegatives,
  }
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : told(result))
  return 0
}

function told(it: {
  readonly model: string
  readonly runtime: string
  readonly input: { readonly width: number; readonly height: number; readonly fit: string }
  readonly scoreMin: number
  readonly iou: number
  readonly photos: number
  readonly faces: number
  readonly recall: number
  readonly precision: number
  readonly averagePrecision: number
  readonly truePositives: number
  readonly falsePositives: number
  readonly falseNegatives: number
}): string {
  return `${it.model}, ${it.input.width}x${it.input.height} (${it.input.fit}), score at least ${it.scoreMin}, on ${it.runtime}
${it.photos} photos, ${it.faces} faces; a face counts as found if boxes overlap by ${it.iou} (IoU)

recall             ${it.recall.toFixed(3)}   ${it.truePositives} found, ${it.falseNegatives} missed
precision          ${it.precision.toFixed(3)}   ${it.falsePositives} detections without a labelled face
average precision  ${it.averagePrecision.toFixed(3)}
`
}

const thousandth = (value: number) => Math.round(value * 1000) / 1000

/** What the detector takes for a face when nobody says otherwise. */
async function usualScoreMin(detect: DeviceConfig['detect']): Promise<number> {
  await using detector = await openChosen(detect)
  return detector.scoreMin
}

async function readBoxes(file: string): Promise<Record<string, Box[]>> {
  try {
    const boxes = boxesSchema.parse(JSON.parse(await readFile(file, 'utf8')))
    const outside = Object.keys(boxes).find(
      (name) => name.split(/[/\\]/).includes('..') || name.startsWith(sep),
    )
    if (outside !== undefined)
      throw failure('SOURCE_UNREADABLE', `${file} names "${outside}", which is outside its folder.`)
    if (Object.keys(boxes).length === 0)
      throw failure('SOURCE_UNREADABLE', `${file} lists no photos: nothing to evaluate.`)
    return boxes
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR')
      throw failure(
        'SOURCE_NOT_FOUND',
        `${file} does not exist. It must list where the faces are: {"photo.jpg": [[left, top, width, height], ...], ...}. A classifier needs none: name it as in "sightline models list".`,
        error,
      )
    if (error instanceof SyntaxError || error instanceof z.ZodError)
      throw failure(
        'SOURCE_UNREADABLE',
        `${file} must be JSON of the form {"photo.jpg": [[left, top, width, height], ...], ...}, numbers in pixels.`,
        error,
      )
    throw error
  }
}
