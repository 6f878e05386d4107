import { open, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { failure, systemCode } from '../../lib/errors.ts'
import type { CameraConfig } from '../config.ts'
import { Crossings } from './crossings.ts'
import { Photos } from './photos.ts'
import type { Source, SourceContext } from './source.ts'
import { Testcard } from './testcard.ts'

type Kind = 'testcard' | 'stream' | 'camera' | 'path'

/** What a source string names, without looking at the world. */
export function kindOf(source: string): Kind {
  if (source === 'testcard' || source === 'testcard:crossings') return 'testcard'
  if (/^(rtsps?|rtmps?|https?):\/\//i.test(source)) return 'stream'
  if (/^\/dev\/video\d+$|^\/dev\/v4l\//.test(source)) return 'camera'
  return 'path'
}

/** A source that may come back when it fails: it is opened again, for ever. A file that fails stays as it is. */
export function isRetried(source: string): boolean {
  return kindOf(source) !== 'path'
}

/** The source's name for people: without user and password. */
export function nameOf(source: string): string {
  return source.replace(/^([a-z]+:\/\/)[^@/]*@/i, '$1')
}

/**
 * Opens what a camera's `source` names. Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE, SOURCE_UNAVAILABLE.
 */
export async function openSource(
  camera: CameraConfig,
  context: SourceContext,
  signal: AbortSignal,
): Promise<Source> {
  const { source } = camera
  const rateMax = camera.rateMax === 'unlimited' ? Infinity : camera.rateMax
  const kind = kindOf(source)
  if (kind === 'testcard')
    return Testcard.open(
      { rateMax, draw: source === 'testcard:crossings' ? Crossings.draw : undefined },
      context,
      signal,
    )
  const path = source.startsWith('file://') ? fileURLToPath(source) : source
  if (kind === 'path') {
    const found = await lookAt(path)
    if (found !== 'file') {
      return Photos.open({ path, isFolder: found === 'folder', loop: camera.loop, rateMax }, context, signal)
    }
  }
  // Loaded only where there is a video: FFmpeg is large.
  const { Video } = await import('./video.ts')
  return Video.open(
    {
      address: kind === 'path' ? `file:${path}` : source,
      name: kind === 'path' ? path : nameOf(source),
      kind: kind === 'path' ? 'file' : kind,
      pace: camera.pace,
      loop: camera.loop,
      rateMax,
      timeoutMs: camera.timeout,
      rtspTransport: camera.rtspTransport,
      size:
        camera.width === undefined || camera.height === undefined
          ? undefined
          : { width: camera.width, height: camera.height },
      framerate: camera.framerate,
      inputFormat: camera.inputFormat,
    },
    context,
    signal,
  )
}

async function lookAt(path: string): Promise<'folder' | 'photo' | 'file'> {
  try {
    if ((await stat(path)).isDirectory()) return 'folder'
    await using file = await open(path)
    const head = Buffer.alloc(16)
    const { bytesRead } = await file.read(head, 0, head.length, 0)
    if (bytesRead === 0) throw failure('SOURCE_UNREADABLE', `${path} is empty. Copy it again.`)
    return isPicture(head) ? 'photo' : 'file'
  } catch (error) {
    switch (systemCode(error)) {
      case 'ENOENT':
      case 'ENOTDIR':
        throw failure(
          'SOURCE_NOT_FOUND',
          `${path} does not exist. Give the path of a video, a photo or a folder under "cameras".`,
          error,
        )
      case 'EACCES':
      case 'EPERM':
        throw failure('SOURCE_UNREADABLE', `${path} may not be read by this user.`, error)
      default:
        throw error
    }
  }
}

/** JPEG, PNG, GIF, WebP, TIFF, AVIF and HEIC, by their first bytes. */
function isPicture(head: Buffer): boolean {
  const text = head.toString('latin1')
  return (
    text.startsWith('\xff\xd8\xff') ||
    text.startsWith('\x89PNG') ||
    text.startsWith('GIF8') ||
    (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') ||
    text.startsWith('II*\0') ||
    text.startsWith('MM\0*') ||
    (text.slice(4, 8) === 'ftyp' && ['avif', 'avis', 'heic', 'heix', 'mif1'].includes(text.slice(8, 12)))
  )
}
