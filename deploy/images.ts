import { createReadStream, readFileSync, statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { failure } from '../lib/errors.ts'
import { type Context, hashOf, readContext, toTar } from './context.ts'
import { type Engine, oneLine, orNone, sayRefusal } from './engine.ts'
import { BUILD_LINES_SHOWN } from './limits.ts'
import { type Kind, PARTS, type ProgramName, SOURCE } from './names.ts'
import { readSavedImages, type SavedImage } from './saved-images.ts'
import type { Say } from './say.ts'

/** Images: built on the engine from the files of this project, brought along in a file, or by their names. */
export type ImageSource =
  | {
      readonly kind: 'build'
      readonly args: Readonly<Record<string, string>>
      /** Of the builds: `host`, say. */
      readonly network?: string
    }
  | { readonly kind: 'file'; readonly file: string }
  /** `{program}` stands for broker, subscriber, console, device, inference. */
  | { readonly kind: 'tag'; readonly reference: string }

export interface Image {
  readonly id: string
  readonly reference: string
}

export type Images = Readonly<Partial<Record<ProgramName, Image>>>

/** Of this project, or of the npm package, which has it all in a folder. */
const ROOT = fileURLToPath(new URL('..', import.meta.url))

interface Target {
  readonly program: ProgramName
  /** Stage of the Dockerfile, where it has several. */
  readonly stage?: string
  readonly dockerfile: string
  /** Of the image, without `sightline-`. */
  readonly name: string
  /** What it is built upon, by the Dockerfile's arguments that name it. */
  readonly from?: Readonly<Record<string, Target>>
}

function targetsOf(kind: Kind, gpu: boolean, architecture: 'amd64' | 'arm64'): Target[] {
  return [...new Set(PARTS[kind].map(({ program }) => program))].map((program) => {
    const looks = program === 'device' || program === 'inference'
    if (!looks || !gpu) return plain(program)
    if (architecture === 'arm64') return JETSON[program]
    return { program, stage: `${program}-cuda`, dockerfile: DOCKERFILE, name: `${program}-cuda` }
  })
}

const DOCKERFILE = 'docker/Dockerfile'

const plain = (program: ProgramName): Target => ({
  program,
  stage: program,
  dockerfile: DOCKERFILE,
  name: program,
})

const DEVICE_JETSON: Target = {
  program: 'device',
  dockerfile: 'docker/jetson.Dockerfile',
  name: 'device-jetson',
  from: { DEVICE: plain('device') },
}
/** What takes hours, ONNX Runtime, is built once for both. */
const JETSON = {
  device: DEVICE_JETSON,
  inference: {
    program: 'inference',
    dockerfile: 'docker/jetson-inference.Dockerfile',
    name: 'inference-jetson',
    from: { DEVICE_JETSON, INFERENCE: plain('inference') },
  },
} as const satisfies Record<string, Target>

/** What can be said about the source without the engine. Errors: IMAGE_NOT_FOUND, IMAGE_UNUSABLE, PAYLOAD_TOO_LARGE */
export async function checkSource(source: ImageSource): Promise<SavedImage[] | undefined> {
  if (source.kind === 'build') readContext(ROOT, 'docker/Dockerfile')
  return source.kind === 'file' ? readSavedImages(source.file) : undefined
}

/**
 * @returns an image on the engine for each program, whole and of its kind
 * Errors: IMAGE_NOT_FOUND, IMAGE_UNUSABLE, BUILD_FAILED, DISK_FULL, ENGINE_REFUSED, ENGINE_UNREACHABLE
 */
export async function ensureImages(
  engine: Engine,
  wanted: {
    readonly kind: Kind
    readonly gpu: boolean
    readonly architecture: 'amd64' | 'arm64'
    readonly source: ImageSource
  },
  say: Say,
): Promise<Images> {
  const targets = targetsOf(wanted.kind, wanted.gpu, wanted.architecture)
  const { source } = wanted
  const references =
    source.kind === 'build'
      ? await build(engine, targets, source, say)
      : source.kind === 'file'
        ? await load(engine, targets, source.file, wanted.architecture, say)
        : await name(engine, targets, source.reference, say)
  const images: Partial<Record<ProgramName, Image>> = {}
  for (const { program } of targets) {
    const reference = references[program] as string
    const found = await engine.do(`inspecting the image ${reference}`, () =>
      engine.docker.getImage(reference).inspect(),
    )
    if (found.Architecture !== wanted.architecture)
      throw failure(
        'IMAGE_UNUSABLE',
        `The image ${reference} is for ${found.Architecture}, and the engine runs on ${wanted.architecture}. Use one that was built for it.`,
      )
    if (!(found.Config as { Healthcheck?: { Test?: string[] } }).Healthcheck?.Test?.length)
      throw failure(
        'IMAGE_UNUSABLE',
        `The image ${reference} has no HEALTHCHECK, so its health is unknown. Use an image of Sightline.`,
      )
    images[program] = { id: found.Id, reference }
  }
  return images
}

type References = Partial<Record<ProgramName, string>>

async function build(
  engine: Engine,
  targets: readonly Target[],
  { args, network }: Extract<ImageSource, { kind: 'build' }>,
  say: Say,
): Promise<References> {
  const { version } = JSON.parse(readFileSync(`${ROOT}/package.json`, 'utf8')) as { version: string }
  const references: References = {}
  const ensure = async (target: Target): Promise<string> => {
    const bases: Record<string, string> = {}
    for (const [argument, base] of Object.entries(target.from ?? {})) bases[argument] = await ensure(base)
    const all = { VERSION: version, ...bases, ...args }
    const context = readContext(ROOT, target.dockerfile)
    const source = hashOf(context, [target.stage ?? '', target.dockerfile, JSON.stringify(all)])
    const reference = `sightline-${target.name}:${all.VERSION}`
    const there = await engine.do(`looking for ${reference}`, () =>
      orNone(engine.docker.getImage(reference).inspect()),
    )
    if (there?.Config.Labels?.[SOURCE] === source) {
      say(`image ${reference} exists, built from these files`)
      return reference
    }
    say(`building ${reference} from ${context.files.length} files (${megabytes(context.bytes)})`)
    await buildOne(engine, { target, context, reference, source, args: all, network }, say)
    return reference
  }
  for (const target of targets) references[target.program] = await ensure(target)
  return references
}

async function buildOne(
  engine: Engine,
  it: {
    readonly target: Target
    readonly context: Context
    readonly reference: string
    readonly source: string
    readonly args: Readonly<Record<string, string>>
    readonly network?: string
  },
  say: Say,
): Promise<void> {
  const doing = `building ${it.reference}`
  const lines: string[] = []
  const stream = await engine.do(doing, () =>
    engine.docker.buildImage(
      toTar(it.context, () => {}),
      {
        dockerfile: it.target.dockerfile,
        target: it.target.stage,
        t: it.reference,
        buildargs: { ...it.args },
        labels: { [SOURCE]: it.source },
        networkmode: it.network,
        rm: true,
        forcerm: true,
      },
    ),
  )
  let step = ''
  await follow(engine, doing, stream, (event) => {
    for (const line of (event.stream ?? event.status ?? '').split('\n')) {
      if (line.trim() === '') continue
      lines.push(line)
      if (lines.length > BUILD_LINES_SHOWN) lines.shift()
      if (/^Step \d+\/\d+/.test(line)) step = line
      // Of 76 steps most are a moment's work or were done before.
      else if (/^ ---> Running in/.test(line) && / : RUN /.test(step))
        say(`  ${it.target.name}: ${shortened(step)}`)
    }
  }).catch((error: { code?: string; message?: string }) => {
    if (error.code !== 'ENGINE_REFUSED') throw error
    throw failure(
      'BUILD_FAILED',
      `${it.reference} could not be built: ${error.message?.replace(`The Docker engine refused while ${doing}: `, '')}\nIts last lines:\n${lines.map((line) => `  ${line}`).join('\n')}`,
      error,
    )
  })
}

async function load(
  engine: Engine,
  targets: readonly Target[],
  file: string,
  architecture: string,
  say: Say,
): Promise<References> {
  const saved = await readSavedImages(file)
  const references: References = {}
  const wanted = targets.map((target) => {
    const image = saved.find(({ tags }) => tags.some((tag) => isOf(tag, target.name)))
    const reference = image?.tags.find((tag) => isOf(tag, target.name))
    if (!image || reference === undefined)
      throw failure(
        'IMAGE_NOT_FOUND',
        `Image sightline-${target.name} not found in ${file}. It holds: ${saved.flatMap(({ tags }) => tags).join(', ') || 'none with a name'}.`,
      )
    if (image.architecture !== architecture)
      throw failure(
        'IMAGE_UNUSABLE',
        `${reference} in ${file} is for ${image.architecture}, and the engine runs on ${architecture}. Save one that was built for it.`,
      )
    references[target.program] = reference
    return { ...image, reference }
  })
  const there = await Promise.all(
    wanted.map(async ({ id, reference }) => {
      const image = await engine.do(`looking for ${reference}`, () =>
        orNone(engine.docker.getImage(reference).inspect()),
      )
      return image?.Id === id
    }),
  )
  if (there.every(Boolean)) {
    say(`the images of ${file} exist`)
    return references
  }
  const bytes = statSync(file).size
  const doing = `loading ${file}`
  say(`${doing} (${megabytes(bytes)})`)
  const stream = createReadStream(file)
  let sent = 0
  let tenth = 0
  stream.on('data', (chunk) => {
    sent += chunk.length
    if (Math.floor((sent / bytes) * 10) > tenth) {
      tenth = Math.floor((sent / bytes) * 10)
      say(`  ${tenth * 10} %`)
    }
  })
  const answer = await engine.do(doing, () => engine.docker.loadImage(stream, { quiet: true }))
  await follow(engine, doing, answer, () => {})
  return references
}

/** registry/team/sightline-device:1.2 is an image of `device`. */
const isOf = (tag: string, name: string) => new RegExp(`(^|/)sightline-${name}(:[^/]*)?$`).test(tag)

async function name(
  engine: Engine,
  targets: readonly Target[],
  template: string,
  say: Say,
): Promise<References> {
  const references: References = {}
  for (const target of targets) {
    const reference = template.replaceAll('{program}', target.name)
    references[target.program] = reference
    const there = await engine.do(`looking for ${reference}`, () =>
      orNone(engine.docker.getImage(reference).inspect()),
    )
    if (there) {
      say(`image ${reference} exists`)
      continue
    }
    const doing = `pulling ${reference}`
    say(doing)
    try {
      const stream = await engine.docker.pull(reference)
      await follow(engine, doing, stream, ({ id, status }) => {
        if (id !== undefined && status === 'Pull complete') say(`  ${target.name}: layer ${id}`)
      })
    } catch (error) {
      const fault = engine.failure(doing, error)
      if (fault.code !== 'ENGINE_REFUSED') throw fault
      throw failure(
        'IMAGE_NOT_FOUND',
        `The image ${reference} is not on the engine and cannot be pulled (${oneLine(fault.message)}). Correct --tag, or give saved images: --images FILE`,
        error,
      )
    }
  }
  return references
}

interface Progress {
  readonly stream?: string
  readonly status?: string
  readonly id?: string
  readonly error?: string
}

/** Reads an answer that comes as lines of JSON, to its end. */
async function follow(
  engine: Engine,
  doing: string,
  stream: NodeJS.ReadableStream,
  on: (event: Progress) => void,
): Promise<void> {
  let refused: string | undefined
  try {
    for await (const line of createInterface({ input: stream })) {
      if (line.trim() === '') continue
      const event = JSON.parse(line) as Progress
      if (event.error !== undefined) refused = event.error
      else on(event)
    }
  } catch (error) {
    throw engine.failure(doing, error)
  }
  if (refused !== undefined) throw sayRefusal(doing, refused)
}

const shortened = (line: string) => (line.length > 100 ? `${line.slice(0, 99)}…` : line)

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
