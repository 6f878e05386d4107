import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { isMap, isSeq, parseDocument } from 'yaml'
import { deviceSchema } from '../../device/config.ts'
import { HEADS, type HeadName, NoDetector, openDetector } from '../../device/detect/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { keepFile } from '../../lib/keep-file.ts'
import { size, table } from '../../lib/table.ts'
import {
  type Catalog,
  type CatalogEntry,
  findEntry,
  MODEL_NAME_PATTERN,
  readCatalog,
} from '../../models/catalog.ts'
import { type Presence, presenceOf, pull } from '../../models/pull.ts'
import { progressBar } from '../progress.ts'
import { classifierIn } from './classifier.ts'

export type Verb = 'list' | 'pull' | 'verify' | 'info' | 'import'

export interface ModelsOptions {
  readonly verb: Verb
  readonly names: readonly string[]
  readonly config?: string
  readonly from?: string
  readonly all?: boolean
  readonly name?: string
  readonly head?: string
  readonly licence?: string
  /** Of a classifier that is imported, as they were written. */
  readonly labels?: string
  readonly activation?: string
  readonly channels?: string
  readonly mean?: string
  readonly scale?: string
  readonly input?: string
  readonly json?: boolean
}

/** @returns the exit status. Errors: those of the catalogue, of `pull`, of opening a model. */
export async function runModels(options: ModelsOptions): Promise<number> {
  const { detect } = loadConfig(deviceSchema, { file: options.config, env: process.env })
  const catalog = readCatalog(detect.modelFolder, detect.catalog)
  const { modelFolder } = detect
  switch (options.verb) {
    case 'list':
      return await list(catalog, modelFolder, options)
    case 'pull':
      return await pullAll(catalog, modelFolder, options)
    case 'verify':
      return await verify(catalog, modelFolder, options)
    case 'info':
      return await info(findEntry(catalog, options.names[0] as string), modelFolder, options)
    case 'import':
      return await importModel(catalog, modelFolder, options)
  }
}

const SAID: Readonly<Record<Presence, string>> = {
  'built in': 'built in',
  here: 'downloaded',
  damaged: 'damaged',
  absent: 'not downloaded',
}

const inputOf = ({ input }: CatalogEntry) =>
  input ? `${input.width}x${input.height}${input.free ? ' or other' : ''}` : ''

async function list(catalog: Catalog, folder: string, { json }: ModelsOptions): Promise<number> {
  const entries = await Promise.all(
    [...catalog.entries.values()].map(async (entry) => ({
      entry,
      presence: await presenceOf(entry, folder),
    })),
  )
  if (json) {
    say(JSON.stringify(entries.map(({ entry, presence }) => ({ ...entry, presence }))))
    return 0
  }
  const detectors = entries.filter(({ entry }) => entry.classify === undefined)
  const classifiers = entries.filter(({ entry }) => entry.classify !== undefined)
  const cells = ({ input, bytes }: CatalogEntry) => [
    input ? `${input.width}x${input.height}${input.free ? '*' : ''}` : '',
    bytes === undefined ? '' : size(bytes),
  ]
  const rows = detectors.map(({ entry, presence }) => [
    entry.name,
    ...cells(entry),
    entry.measured?.recall.toFixed(2) ?? '',
    entry.measured?.precision.toFixed(2) ?? '',
    SAID[presence],
  ])
  process.stdout.write(table([['detector', 'input', 'size', 'recall', 'precision', ''], ...rows]))
  const looks = classifiers.map(({ entry, presence }) => [
    entry.name,
    ...cells(entry),
    SAID[presence],
    labelsOf(entry, LABELS_WIDTH),
  ])
  if (looks.length > 0)
    process.stdout.write(`\n${table([['classifier', 'input', 'size', '', 'labels'], ...looks])}`)
  const known = entries.map(({ entry }) => entry)
  const remarks = [
    ...(known.some(({ input }) => input?.free) ? ['* also accepts other input sizes'] : []),
    ...[...new Set(known.map(({ measured }) => measured?.on))].flatMap((on) =>
      on === undefined ? [] : [`measured on ${on}`],
    ),
    'details and licence: sightline models info NAME',
  ]
  process.stdout.write(`\n${remarks.map((remark) => `${remark}\n`).join('')}`)
  return 0
}

/** Columns that are left for labels in a list. */
const LABELS_WIDTH = 24

/** A classifier's labels, as many as there is room for. */
function labelsOf({ classify }: CatalogEntry, width = Infinity): string {
  const text = (classify?.labels ?? []).join(', ')
  return text.length <= width ? text : `${text.slice(0, width - 3)}...`
}

async function pullAll(catalog: Catalog, folder: string, options: ModelsOptions): Promise<number> {
  const entries = options.all
    ? [...catalog.entries.values()].filter(({ file, sources }) => file !== undefined && sources.length > 0)
    : options.names.map((name) => findEntry(catalog, name))
  const stopped = new AbortController()
  const stop = () => stopped.abort(failure('DOWNLOAD_FAILED', 'Stopped. The next pull resumes from here.'))
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  for (const entry of entries) {
    using bar = progressBar(process.stderr, entry.name)
    const { from } = options
    const done = await pull(entry, { folder, from, onProgress: (at, of) => bar.show(at, of) }, stopped.signal)
    bar.clear()
    say(
      done === 'pulled'
        ? `${entry.name}: ${join(folder, entry.file ?? '')}, checksum correct.`
        : `${entry.name}: already downloaded.`,
    )
  }
  return 0
}

async function verify(catalog: Catalog, folder: string, { names, json }: ModelsOptions): Promise<number> {
  const named = names.length > 0
  const entries = named ? names.map((name) => findEntry(catalog, name)) : [...catalog.entries.values()]
  const looked = await Promise.all(
    entries.map(async (entry) => ({ entry, presence: await presenceOf(entry, folder) })),
  )
  const shown = looked.filter(({ presence }) => named || presence !== 'absent')
  const wrong = shown.filter(({ presence }) => presence === 'damaged' || presence === 'absent')
  if (json) say(JSON.stringify(shown.map(({ entry, presence }) => ({ name: entry.name, presence }))))
  else for (const { entry, presence } of shown) say(`${entry.name}: ${verdict(entry, presence, folder)}`)
  return wrong.length === 0 ? 0 : 65
}

function verdict(entry: CatalogEntry, presence: Presence, folder: string): string {
  switch (presence) {
    case 'built in':
      return 'built in; it is checked each time it is read.'
    case 'here':
      return entry.sha256 === undefined ? 'downloaded; its entry has no checksum.' : 'checksum correct.'
    case 'absent':
      return `not downloaded. Run "sightline models pull ${entry.name}".`
    case 'damaged':
      return `${join(folder, entry.file ?? '')} is damaged, or a different file. Run "sightline models pull ${entry.name}".`
  }
}

async function info(entry: CatalogEntry, folder: string, { json }: ModelsOptions): Promise<number> {
  const presence = await presenceOf(entry, folder)
  if (json) {
    say(JSON.stringify({ ...entry, presence }))
    return 0
  }
  const { measured } = entry
  const rows = [
    ['name', entry.name],
    ['about', entry.about],
    ['kind', entry.classify ? 'classifier' : 'detector'],
    ['head', entry.classify ? undefined : entry.head],
    ['labels', labelsOf(entry)],
    ['score', entry.classify && `at least ${entry.classify.threshold}`],
    ['input', inputOf(entry)],
    ['size', entry.bytes === undefined ? undefined : size(entry.bytes)],
    ['licence', entry.licence],
    [
      'measured',
      measured &&
        `recall ${measured.recall}, precision ${measured.precision}, average precision ${measured.averagePrecision}${measured.on === undefined ? '' : `, on ${measured.on}`}`,
    ],
    ['score', entry.scoreMin === undefined ? undefined : `at least ${entry.scoreMin}`],
    ['sha256', entry.sha256],
    ...entry.sources.map((source) => ['source', source]),
    ['state', presence === 'here' ? join(folder, entry.file ?? '') : SAID[presence]],
  ]
  for (const [key = '', value] of rows) if (value) say(`${key.padEnd(10)}${value}`)
  return 0
}

/** Tries the file out, copies it into the folder and writes its entry. */
async function importModel(catalog: Catalog, folder: string, options: ModelsOptions): Promise<number> {
  const file = options.names[0] as string
  const name = options.name ?? nameAfter(file)
  if (!MODEL_NAME_PATTERN.test(name))
    throw failure(
      'NAME_INVALID',
      `Invalid model name "${name}": use lowercase letters, digits, dots, dashes and underscores, at most 64. Give one with --name.`,
    )
  if (catalog.entries.has(name))
    throw failure('FILE_EXISTS', `Model ${name} already exists in the catalogue. Give another --name.`)
  if (options.head !== undefined && options.head !== 'auto' && !Object.hasOwn(HEADS, options.head))
    throw failure('USAGE', `Unknown head "${options.head}". Use one of: ${Object.keys(HEADS).join(', ')}.`)
  if (extname(file).toLowerCase() === '.json')
    throw failure(
      'USAGE',
      `${file} is a TensorFlow.js model, which has several files. Leave it where it is, and set "detect.model" to its path.`,
    )
  const head = (options.head ?? 'auto') as HeadName | 'auto'
  // As a path, whatever it is called.
  const path = file.includes('/') ? file : `./${file}`
  const { bytes, kind, ...found } =
    options.labels === undefined
      ? await detectorIn(path, head, options).catch(orClassifier)
      : await classifierIn(path, options.labels, options)
  const kept = `${name}.onnx`
  if (existsSync(join(folder, kept)))
    throw failure('FILE_EXISTS', `${join(folder, kept)} already exists. Give another --name.`)
  const entry = {
    name,
    file: kept,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    bytes: bytes.length,
    ...(options.licence !== undefined && { licence: options.licence }),
    ...found,
  }
  keepFile(bytes, join(folder, kept))
  keepFile(await withEntry(catalog.ownFile, entry), catalog.ownFile)
  const use =
    options.labels === undefined ? `detect.model: ${name}` : `process: [{ name: ${name}, model: ${name} }]`
  say(
    `${name} (${kind}, ${entry.input.width}x${entry.input.height}) is in ${join(folder, kept)}, its entry in ${catalog.ownFile}. Use it: "${use}".`,
  )
  return 0
}

/** Who imports a classifier and leaves its labels out is told of detectors alone. */
function orClassifier(error: unknown): never {
  if (error instanceof NoDetector)
    throw failure(
      'MODEL_UNUSABLE',
      `${error.message} For a classifier, give its labels: --labels A,B.`,
      error,
    )
  throw error
}

/** What is needed of a detector's file for its entry. Errors: those of openDetector; USAGE. */
async function detectorIn(path: string, head: HeadName | 'auto', options: ModelsOptions) {
  const useless = (['activation', 'channels', 'mean', 'scale', 'input'] as const).find(
    (option) => options[option] !== undefined,
  )
  if (useless !== undefined)
    throw failure('USAGE', `--${useless} is for classifiers. Give their labels, too: --labels A,B.`)
  await using detector = await openDetector({ model: path, head, threads: 1 })
  const { width, height } = detector.input
  return {
    kind: detector.head,
    bytes: await readFile(path),
    head: detector.head,
    input: { width, height, free: detector.inputFree },
  }
}

const nameAfter = (file: string) =>
  basename(file, extname(file))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 64)

/** The user's catalogue with one entry more; what else stands in it, comments too, stays. */
async function withEntry(file: string, entry: object): Promise<string> {
  const text = existsSync(file) ? await readFile(file, 'utf8') : ''
  const document = parseDocument(text)
  const list = isMap(document.contents) ? document.get('models') : undefined
  if (isSeq(list)) list.add(document.createNode(entry))
  else document.set('models', document.createNode([entry]))
  return String(document)
}

const say = (line: string) => process.stdout.write(`${line}\n`)
