import { mkdir, writeFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import type { DeviceConfig } from '../../device/config.ts'
import type { Detection } from '../../device/detect/detector.ts'
import type { Photo } from '../../device/detect/photo.ts'
import { cropRegion, encodeJpeg } from '../../device/faces/crop.ts'
import { sharp } from '../../device/sharp.ts'
import { failure, systemCode } from '../../lib/errors.ts'
import { CROP_VERSION, fileNameOf, writeCrop } from '../../wire/crop.ts'
import { newId } from '../../wire/id.ts'

/** The name of the camera in crops of photos that no camera took. */
const CAMERA = 'photos'

/** Refuses photos whose crops would have the same names. Errors: USAGE, FOLDER_UNWRITABLE. */
export async function openCropsFolder(folder: string, photos: readonly string[]): Promise<void> {
  const names = photos.map((photo) => stem(photo))
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined)
    throw failure(
      'USAGE',
      `Crops of two files would be ${join(folder, `${twice}-0.jpg`)}. Run them one at a time, into folders of their own.`,
    )
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw failure('FOLDER_UNWRITABLE', `Cannot create the folder ${folder}.`, error)
  })
}

/**
 * Each face as the device cuts it, with its metadata, `<photo>-<n>.jpg` in the folder; a file there is replaced.
 * @param faces in pixels of the photo
 * @returns the files, in the order of the faces; one that lies outside the photo has none
 * Errors: FOLDER_UNWRITABLE.
 */
export async function writeCrops(
  photo: Photo,
  faces: readonly Detection[],
  { site, device, crop }: Pick<DeviceConfig, 'site' | 'device' | 'crop'>,
  { folder, model }: { readonly folder: string; readonly model: string },
): Promise<(string | undefined)[]> {
  const { data, width, height } = photo
  const files: (string | undefined)[] = []
  for (const [at, { box, score, landmarks, masked }] of faces.entries()) {
    const region = cropRegion(box, crop.margin, photo)
    if (region === undefined) {
      files.push(undefined)
      continue
    }
    const rgb = await sharp(data, { raw: { width, height, channels: 3 } })
      .extract(region)
      .raw()
      .toBuffer()
    const name = fileNameOf(photo.file)
    const bytes = writeCrop(await encodeJpeg(rgb, region, crop), {
      v: CROP_VERSION,
      id: newId(),
      ...{ site, device, camera: CAMERA },
      capturedAtMs: Date.now(),
      clockSane: true,
      box: [...box],
      region: [region.left, region.top, region.width, region.height],
      score,
      landmarks: landmarks.map(([x, y]) => [x, y]),
      ...(masked !== undefined && { masked }),
      model,
      ...(name !== undefined && { file: name }),
      frame: [width, height],
    })
    const file = join(folder, `${stem(photo.file)}-${at}.jpg`)
    await writeFile(file, bytes).catch((error: unknown) => {
      throw failure('FOLDER_UNWRITABLE', `Cannot write ${file} (${systemCode(error) ?? error}).`, error)
    })
    files.push(file)
  }
  return files
}

const stem = (file: string) => basename(file, extname(file))
