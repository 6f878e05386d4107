import { open, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { failure, systemCode } from '../../lib/errors.ts'
import type { CameraConfig } from '../config.ts'
import { HEAD_BYTES, pictureKind } from '../picture.ts'
import { addressOf, CROSSINGS, kindOf, nameOf, PUSHED, STILL } from './address.ts'
import { Crossings } from './crossings.ts'
import { Photos } from './photos.ts'
import type { Source, SourceContext } from './source.ts'
import { Testcard } from './testcard.ts'
import type { ViewSettings } from './view.ts'
import { WatchedFolder } from './watch.ts'

/** A source that may come back when it fails: it is opened again, for ever. A file that fails stays as it is. */
export function isRetried({ source, watch }: Pick<CameraConfig, 'source' | 'watch'>): boolean {
  return kindOf(source) !== 'path' || watch
}

/** Watched folders know what was taken, also when they were away for a while. */
const watchedFolders = new WeakMap<CameraConfig, WatchedFolder>()

/** A camera's other settings: of a watched folder, what was taken is not taken again. */
export function continueFolder(before: CameraConfig, after: CameraConfig): void {
  const watched = before.source === after.source ? watchedFolders.get(before) : undefined
  if (watched) watchedFolders.set(after, watched)
}

/**
 * Opens what a camera's `source` names. Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE, SOURCE_UNAVAILABLE;
 * CONFIG_NOT_FOUND for its password's file.
 */
export async function openSource(
  camera: CameraConfig,
  context: SourceContext,
  signal: AbortSignal,
): Promise<Source> {
  const { source } = camera
  const rateMax = camera.rateMax === 'unlimited' ? Infinity : camera.rateMax
  const kind = kindOf(source)
  const view = viewOf(camera)
  if (kind === 'testcard') {
    const draw = source === CROSSINGS ? Crossings.draw : undefined
    return Testcard.open({ rateMax, view, draw }, context, signal)
  }
  if (kind === 'still') {
    const { Still } = await import('./still.ts')
    const size = { width: camera.width ?? 1280, height: camera.height ?? 720 }
    const times = { intervalMs: camera.interval, timeoutMs: camera.timeout }
    const device = source.slice(STILL.length)
    return Still.open({ device, name: source, size, ...times, view }, context, signal)
  }
  const path = source.startsWith('file://') ? fileURLToPath(source) : source
  if (kind === 'path') {
    const before = watchedFolders.get(camera)
    const found = before ? 'folder' : await lookAt(path)
    if (camera.watch && found !== 'folder')
      throw failure(
        'SOURCE_UNREADABLE',
        `${path} is not a folder; only a folder can be watched for new photos.`,
      )
    if (found !== 'file') {
      const watched = camera.watch ? (before ?? new WatchedFolder(path)) : undefined
      if (watched) watchedFolders.set(camera, watched)
      const { loop } = camera
      return Photos.open(
        { path, isFolder: found === 'folder', loop, rateMax, view, watched },
        context,
        signal,
      )
    }
  }
  if (kind === 'pushed') {
    const { Pushed } = await import('./pushed.ts')
    return Pushed.open(
      { camera: source.slice(PUSHED.length), rateMax, timeoutMs: camera.timeout, view },
      context,
      signal,
    )
  }
  // Loaded only where there is a video: FFmpeg is large.
  const { Video } = await import('./video.ts')
  return Video.open(
    {
      address: kind === 'path' ? `file:${path}` : addressOf(source, `camera "${camera.name}"`, camera),
      name: kind === 'path' ? path : nameOf(source),
      kind: kind === 'path' ? 'file' : kind,
      pace: camera.pace,
      loop: camera.loop,
      rateMax,
      intervalMs: camera.interval,
      timeoutMs: camera.timeout,
      rtspTransport: camera.rtspTransport,
      redirects: context.isFromAfar !== true,
      size:
        camera.width === undefined || camera.height === undefined
          ? undefined
          : { width: camera.width, height: camera.height },
      framerate: camera.framerate,
      inputFormat: camera.inputFormat,
    },
    context,
    signal,
    view,
  )
}

export function viewOf({ rotate, mirror, aspect, region, masks }: CameraConfig): ViewSettings {
  return { rotate, mirror, aspect: aspectOf(aspect), region, masks: masks.map(cornersOf) }
}

function aspectOf(aspect: string): number | undefined {
  const [width, height] = aspect.split(':').map(Number)
  return width && height ? width / height : undefined
}

function cornersOf(mask: CameraConfig['masks'][number]): ViewSettings['masks'][number] {
  if ('points' in mask) return mask.points
  const { left, top, width, height } = mask
  const [right, bottom] = [left + width, top + height]
  return [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ]
}

async function lookAt(path: string): Promise<'folder' | 'photo' | 'file'> {
  try {
    const found = await stat(path)
    if (found.isDirectory()) return 'folder'
    // Looking at its beginning would take that away from whoever reads it, and opening it waits for whoever writes.
    if (!found.isFile())
      throw failure(
        'SOURCE_UNREADABLE',
        `${path} is ${found.isFIFO() ? 'a named pipe' : found.isSocket() ? 'a socket' : 'a device'}, which is not supported. Use a file, or serve its stream as RTSP with a program such as MediaMTX.`,
      )
    await using file = await open(path)
    const head = Buffer.alloc(HEAD_BYTES)
    const { bytesRead } = await file.read(head, 0, head.length, 0)
    if (bytesRead === 0) throw failure('SOURCE_UNREADABLE', `${path} is empty. Copy it again.`)
    return pictureKind(head) ? 'photo' : 'file'
  } catch (error) {
    switch (systemCode(error)) {
      case 'ENOENT':
      case 'ENOTDIR':
        throw failure(
          'SOURCE_NOT_FOUND',
          `${path} does not exist. Give the path of a video, a photo or a folder under "cameras", or after --source.`,
          error,
        )
      case 'EACCES':
      case 'EPERM':
        throw failure('SOURCE_UNREADABLE', `Cannot read ${path}: permission denied.`, error)
      default:
        throw error
    }
  }
}
