import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { readPicture } from '../../device/picture.ts'
import { type Classifier, openClassifier } from '../../device/process/classifier.ts'
import { type Judged, type Judgement, judgeLabels } from '../../device/process/judge.ts'
import { shownOf } from '../../device/process/shown.ts'
import { asFailure, failure, systemCode } from '../../lib/errors.ts'
import { inOneLine, table } from '../../lib/table.ts'
import { readCrop } from '../../wire/crop.ts'
import { type Chosen, chosenDetector } from './options.ts'

/** Of one folder of crops. */
const CROPS_MAX = 100_000
/** Each is another row: what a higher threshold costs and brings. */
const THRESHOLDS = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
/** A confusion table with more labels is wider than a terminal: the worst confusions are told instead. */
const CONFUSION_LABELS_MAX = 5
const CONFUSIONS_TOLD_MAX = 10
const LABELS_TOLD_MAX = 30
const LABEL_WIDTH_MAX = 24
const COLUMN_WIDTH_MAX = 9

/** A crop in a folder that is named like what it is. */
interface Labelled {
  readonly label: string
  readonly file: string
}

/**
 * Shows each crop to the classifier, and prints how often it is right. Files that are no pictures are told of on stderr and
 * passed over. Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE; those of opening a model.
 */
export async function evaluateLabels(folder: string, chosen: Chosen, json: boolean): Promise<number> {
  const { model = '', modelFolder, catalog } = chosenDetector({ ...chosen, scoreMin: undefined })
  await using classifier = await openClassifier({ model, modelFolder, catalog })
  const threshold = chosen.scoreMin ?? classifier.threshold
  const files = await labelledFiles(folder, classifier.labels)
  const judged: Judged[] = []
  const passedOver: string[] = []
  for (const { label, file } of files) {
    try {
      judged.push({ is: label, said: await classifier.look(await readShown(file, classifier)) })
    } catch (error) {
      const { code, message } = asFailure(error)
      if (code === 'INFERENCE_WRONG') throw error
      passedOver.push(file)
      const why = code === 'SOURCE_UNREADABLE' ? message : `${file} is damaged, or cannot be read.`
      process.stderr.write(`${inOneLine(why)} Passed over.\n`)
    }
  }
  if (judged.length === 0)
    throw failure(
      'SOURCE_UNREADABLE',
      `${folder} has no pictures: nothing to evaluate. Put crops into folders named like the labels: ${inOneLine(classifier.labels.slice(0, LABELS_TOLD_MAX).join(', '))}.`,
    )
  const judgement = judgeLabels(judged, classifier.labels, threshold)
  const curve = [...new Set([...THRESHOLDS, threshold])]
    .sort((a, b) => a - b)
    .map((scoreMin) => ({ scoreMin, ...judgeLabels(judged, classifier.labels, scoreMin) }))
  if (json) {
    const { by, runtime, input, margin } = classifier
    process.stdout.write(
      `${JSON.stringify({
        ...{ model: by, runtime, input, margin, scoreMin: threshold, passedOver, ...rounded(judgement) },
        thresholds: curve.map(({ scoreMin, right, wrong, notSure }) => ({ scoreMin, right, wrong, notSure })),
      })}\n`,
    )
  } else process.stdout.write(told(classifier, threshold, passedOver.length, judgement, curve))
  return 0
}

/** A crop as the classifier is shown it: one of Sightline's says where in it the face is. */
async function readShown(file: string, { margin }: Classifier) {
  const bytes = await readFile(file)
  const picture = await readPicture(bytes, file)
  const reading = margin === undefined ? undefined : readCrop(bytes)
  return reading && 'crop' in reading ? shownOf(picture, reading.crop, margin) : picture
}

/** Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE. */
async function labelledFiles(folder: string, labels: readonly string[]): Promise<Labelled[]> {
  const how = `It must have folders named like the labels (${inOneLine(labels.slice(0, LABELS_TOLD_MAX).join(', '))}), with crops in them.`
  try {
    if (!(await stat(folder)).isDirectory())
      throw failure('SOURCE_UNREADABLE', `${folder} is not a folder. ${how}`)
    const found: Labelled[] = []
    const folders = (await readdir(folder, { withFileTypes: true })).filter(
      (entry) => entry.isDirectory() && !entry.name.startsWith('.'),
    )
    const unknown = folders.filter(({ name }) => !labels.includes(name.normalize('NFC')))
    if (unknown.length > 0)
      throw failure(
        'SOURCE_UNREADABLE',
        `${folder} has a folder "${inOneLine(unknown[0]?.name ?? '')}", which is no label of this model. ${how}`,
      )
    if (folders.length === 0) throw failure('SOURCE_UNREADABLE', `${folder} has no folders. ${how}`)
    for (const { name } of folders)
      for (const entry of (await readdir(join(folder, name), { withFileTypes: true })).toSorted((a, b) =>
        a.name < b.name ? -1 : 1,
      ))
        if (!entry.name.startsWith('.')) {
          found.push({ label: name.normalize('NFC'), file: join(folder, name, entry.name) })
          if (found.length > CROPS_MAX)
            throw failure(
              'SOURCE_UNREADABLE',
              `${folder} has more than ${CROPS_MAX} crops. Evaluate fewer at a time.`,
            )
        }
    return found
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR')
      throw failure('SOURCE_NOT_FOUND', `${folder} does not exist. ${how}`, error)
    if (systemCode(error) === 'EACCES')
      throw failure('SOURCE_UNREADABLE', `Cannot read ${folder}: permission denied.`, error)
    throw error
  }
}

function rounded(judgement: Judgement) {
  return {
    ...judgement,
    accuracy: thousandth(judgement.accuracy),
    labels: judgement.labels.map((it) => ({
      ...it,
      recall: it.recall === undefined ? undefined : thousandth(it.recall),
      precision: it.precision === undefined ? undefined : thousandth(it.precision),
    })),
  }
}

function told(
  { by, runtime, input, margin }: Classifier,
  threshold: number,
  passedOver: number,
  judgement: Judgement,
  curve: readonly (Judgement & { readonly scoreMin: number })[],
): string {
  const { crops, right, wrong, notSure, accuracy } = judgement
  const labels = judgement.labels.toSorted((a, b) => b.crops - a.crops).slice(0, LABELS_TOLD_MAX)
  const left = judgement.labels.length - labels.length
  const parts = [
    `${by}, ${input.width}x${input.height} (${input.fit}${margin === undefined ? '' : `, margin ${margin}`}), score at least ${threshold}\non ${runtime}\n${crops} ${crops === 1 ? 'crop' : 'crops'}${passedOver === 0 ? '' : `, ${passedOver} ${passedOver === 1 ? 'file' : 'files'} passed over`}\n`,
    `accuracy  ${accuracy.toFixed(3)}   ${right} right, ${wrong} wrong, ${notSure} not sure\n`,
    table([
      ['label', 'crops', 'recall', 'precision', ''],
      ...labels.map((it) => [
        short(it.label, LABEL_WIDTH_MAX),
        String(it.crops),
        it.recall?.toFixed(3) ?? '-',
        it.precision?.toFixed(3) ?? '-',
        '',
      ]),
    ]) + (left > 0 ? `and ${left} more: --json\n` : ''),
    confusionOf(judgement),
    table([
      ['score at least', 'right', 'wrong', 'not sure', 'right of those told', ''],
      ...curve.map((it) => [
        it.scoreMin.toFixed(2),
        String(it.right),
        String(it.wrong),
        String(it.notSure),
        it.right + it.wrong === 0 ? '-' : (it.right / (it.right + it.wrong)).toFixed(3),
        it.scoreMin === threshold ? 'set' : '',
      ]),
    ]),
  ]
  return parts.join('\n')
}

function confusionOf({ labels, confusion }: Judgement): string {
  if (labels.length <= CONFUSION_LABELS_MAX)
    return table([
      ['is \\ told', ...labels.map(({ label }) => short(label, COLUMN_WIDTH_MAX)), 'not sure', ''],
      ...confusion.map(({ is, said }) => [short(is, LABEL_WIDTH_MAX), ...said.map(String), '']),
    ])
  const confused = confusion
    .flatMap(({ is, said }, row) =>
      said.flatMap((count, column) =>
        column === row || count === 0
          ? []
          : [{ is, told: labels[column]?.label ?? 'not sure', count: count as number }],
      ),
    )
    .toSorted((a, b) => b.count - a.count)
    .slice(0, CONFUSIONS_TOLD_MAX)
  return table([
    ['is', 'told', 'crops', ''],
    ...confused.map((it) => [
      short(it.is, LABEL_WIDTH_MAX),
      short(it.told, LABEL_WIDTH_MAX),
      String(it.count),
      '',
    ]),
  ])
}

const short = (label: string, width: number) =>
  label.length <= width ? inOneLine(label) : `${inOneLine(label.slice(0, width - 3))}...`
const thousandth = (value: number) => Math.round(value * 1000) / 1000
