import { mkdir, stat } from 'node:fs/promises'
import { basename, extname, join, resolve } from 'node:path'
import type { Detection } from '../../device/detect/detector.ts'
import { type Photo, readPhoto } from '../../device/detect/photo.ts'
import { pointToFrame, toFrame } from '../../device/faces/crop.ts'
import { sharp } from '../../device/sharp.ts'
import { asFailure, failure, systemCode } from '../../lib/errors.ts'
import { openCropsFolder, writeCrops } from './crops.ts'
import { type Chosen, chosenConfig, openChosen } from './options.ts'

const PICTURES = ['.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.avif']

/**
 * A line of JSON for each file, in their order; with `draw` the files with the boxes drawn, too, with `crops` the faces cut out. A file that cannot be read is told
 * of on stderr, and the others are looked at. @returns the exit status: that of the first such file
 */
export async function detectFiles(
  files: readonly string[],
  chosen: Chosen,
  { draw, crops }: { readonly draw?: string; readonly crops?: string },
): Promise<number> {
  const drawn = draw === undefined ? undefined : await drawTargets(files, draw)
  const config = chosenConfig(chosen)
  if (crops !== undefined) await openCropsFolder(crops, files)
  await using detector = await openChosen(config.detect)
  let status = 0
  for (const [at, file] of files.entries()) {
    try {
      const photo = await readPhoto(file, detector.input)
      const faces = (await detector.detect(photo.scaled)).map((face) => inPhoto(face, photo))
      const target = drawn?.[at]
      if (target !== undefined) await drawFaces(photo, faces, target)
      const { width, height } = photo
      const { model, runtime } = detector
      const cut =
        crops === undefined
          ? undefined
          : { crops: await writeCrops(photo, faces, config, { folder: crops, model }) }
      process.stdout.write(
        `${JSON.stringify({ file, width, height, model, runtime, faces, ...(target && { drawn: target }), ...cut })}\n`,
      )
    } catch (error) {
      const fault = asFailure(error)
      process.stderr.write(`${fault.code}: ${fault.message}\n`)
      status ||= fault.exitStatus
    }
  }
  return status
}

/** In pixels of the photo, tenths. */
function inPhoto({ box, score, landmarks, ...rest }: Detection, photo: Photo): Detection {
  const tenth = (value: number) => Math.round(value * 10) / 10
  const [left, top, width, height] = toFrame(box, photo.scaled, photo)
  return {
    box: [tenth(left), tenth(top), tenth(width), tenth(height)],
    score: Math.round(score * 1000) / 1000,
    landmarks: landmarks.map((point) => {
      const [x, y] = pointToFrame(point, photo.scaled, photo)
      return [tenth(x), tenth(y)]
    }),
    ...rest,
  }
}

/** Where each drawn picture goes: `out` itself for one, a file in the folder `out` for several. */
async function drawTargets(files: readonly string[], out: string): Promise<string[]> {
  const isPicture = PICTURES.includes(extname(out).toLowerCase())
  const isFolder = await stat(out).then(
    (found) => found.isDirectory(),
    () => false,
  )
  const one = isPicture && !isFolder
  if (!one && !isFolder && extname(out) !== '' && !out.endsWith('/'))
    throw failure(
      'USAGE',
      `--draw ${out}: unsupported picture format. Use one of ${PICTURES.join(', ')}, or a folder: ${out}/`,
    )
  if (one && files.length > 1)
    throw failure(
      'USAGE',
      `${out} is one picture, but there are ${files.length} files. Give --draw a folder.`,
    )
  const targets = one ? [out] : files.map((file) => join(out, drawnName(file)))
  for (const [at, target] of targets.entries()) {
    if (files.some((file) => resolve(file) === resolve(target)))
      throw failure('USAGE', `${target} is an input file. Give --draw another path.`)
    if (targets.indexOf(target) !== at)
      throw failure('USAGE', `Two of the files would be drawn to ${target}. Run them one at a time.`)
  }
  if (!one)
    await mkdir(out, { recursive: true }).catch((error: unknown) => {
      throw failure('FOLDER_UNWRITABLE', `Cannot create the folder ${out}.`, error)
    })
  return targets
}

const drawnName = (file: string) =>
  PICTURES.includes(extname(file).toLowerCase()) ? basename(file) : `${basename(file)}.png`

async function drawFaces(photo: Photo, faces: readonly Detection[], target: string): Promise<void> {
  const { width, height } = photo
  const line = Math.max(1, Math.round(Math.max(width, height) / 300))
  const shapes = faces.flatMap(({ box: [x, y, w, h], landmarks, masked }) => {
    const colour = masked ? '#ffb000' : '#00e676'
    return [
      `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="none" stroke="#000" stroke-opacity=".5" stroke-width="${line * 2}"/>`,
      `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="none" stroke="${colour}" stroke-width="${line}"/>`,
      ...landmarks.map(([px, py]) => `<circle cx="${px}" cy="${py}" r="${line}" fill="${colour}"/>`),
    ]
  })
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${shapes.join('')}</svg>`
  try {
    await sharp(photo.data, { raw: { width, height, channels: 3 } })
      .composite([{ input: Buffer.from(svg) }])
      .toFile(target)
  } catch (error) {
    throw failure(
      'FOLDER_UNWRITABLE',
      `Cannot write ${target}${systemCode(error) === undefined ? '' : ` (${systemCode(error)})`}. Check that its folder exists and that this user may write to it.`,
      error,
    )
  }
}
