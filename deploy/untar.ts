import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { extract, type Header } from 'tar-stream'

/**
 * Reads an archive to its end. @returns the contents of those files that are wanted, by name
 * Rejects where it is no archive, or one that is cut off, and with what `wanted` throws.
 */
export function untar(stream: Readable, wanted: (header: Header) => boolean): Promise<Map<string, Buffer>> {
  return new Promise((resolve, reject) => {
    const files = new Map<string, Buffer>()
    const tar = extract()
    const fail = (error: unknown) => {
      stream.destroy()
      reject(error)
    }
    const isWanted = (header: Header) => {
      try {
        return header.type === 'file' && wanted(header)
      } catch (error) {
        fail(error)
        return false
      }
    }
    tar.on('entry', (header, content, next) => {
      if (isWanted(header))
        buffer(content).then((whole) => {
          files.set(header.name, whole)
          next()
        }, fail)
      else content.on('end', () => next()).resume()
    })
    tar.on('error', fail) // it may say so more than once
    tar.on('finish', () => resolve(files))
    stream.on('error', fail)
    stream.pipe(tar)
  })
}
