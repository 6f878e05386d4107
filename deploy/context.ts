import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Ignore } from '@balena/dockerignore'
import { pack } from 'tar-stream'
import { failure } from '../lib/errors.ts'
import { CONTEXT_BYTES_MAX, CONTEXT_FILES_MAX } from './limits.ts'

/** A CommonJS module whose types say that it is none. */
const dockerignore = createRequire(import.meta.url)('@balena/dockerignore') as (options: {
  ignorecase: boolean
}) => Ignore

/** A build's context: the project's files but those that .dockerignore names, as the engine takes them. */

export interface Context {
  readonly root: string
  /** Relative, with slashes, in order. */
  readonly files: readonly ContextFile[]
  readonly bytes: number
}

interface ContextFile {
  readonly name: string
  readonly executable: boolean
  readonly size: number
}

const ALWAYS = ['.dockerignore']

/** @param dockerfile sent in any case. Errors: IMAGE_UNUSABLE, PAYLOAD_TOO_LARGE */
export function readContext(root: string, dockerfile: string): Context {
  if (!existsSync(join(root, dockerfile)))
    throw failure(
      'IMAGE_NOT_FOUND',
      `Cannot build images: ${join(root, dockerfile)} not found. Give saved images (--images FILE), or existing ones (--tag REFERENCE).`,
    )
  const rules = existsSync(join(root, '.dockerignore'))
    ? readFileSync(join(root, '.dockerignore'), 'utf8')
    : ''
  const ignore = dockerignore({ ignorecase: false }).add(rules)
  // Below an ignored folder something may be named again.
  const named = rules.split('\n').flatMap((rule) => /^\s*!(.+?)\s*$/.exec(rule)?.[1] ?? [])
  const mayHold = (folder: string) =>
    named.some((rule) => /[*?[]/.test(rule) || rule.replace(/^\/|\/$/g, '').startsWith(`${folder}/`))
  const files: ContextFile[] = []
  let bytes = 0
  const add = (name: string) => {
    const stat = statSync(join(root, name), { throwIfNoEntry: false })
    if (!stat?.isFile()) return
    files.push({ name, executable: (stat.mode & 0o111) !== 0, size: stat.size })
    bytes += stat.size
    if (bytes > CONTEXT_BYTES_MAX || files.length > CONTEXT_FILES_MAX)
      throw failure(
        'PAYLOAD_TOO_LARGE',
        `The files to build images from exceed ${CONTEXT_BYTES_MAX / 1e6} MB or ${CONTEXT_FILES_MAX} files; something in ${root} does not belong there (the last: ${name}). Move it, or add it to .dockerignore.`,
      )
  }
  const visit = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (name === '.git') continue
      const ignored = rules !== '' && ignore.ignores(name)
      if (entry.isDirectory()) {
        if (!ignored || mayHold(name)) visit(name)
      } else if (entry.isFile() && !ignored && name !== dockerfile && !ALWAYS.includes(name)) add(name)
    }
  }
  visit('')
  for (const name of [dockerfile, ...ALWAYS]) add(name)
  files.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { root, files, bytes }
}

/** The same for the same files, whoever checked them out, wherever and whenever. */
export function hashOf({ root, files }: Context, more: readonly string[]): string {
  const hash = createHash('sha256')
  for (const text of more) hash.update(`${text.length}:${text}\n`)
  for (const { name, executable } of files) {
    const content = readFileSync(join(root, name))
    hash.update(`${name}\0${executable ? 'x' : ''}\0${content.length}\n`).update(content)
  }
  return hash.digest('hex')
}

/** @param onBytes called with how much has been sent */
export function toTar({ root, files }: Context, onBytes: (bytes: number) => void): Readable {
  const tar = pack()
  const send = async () => {
    let sent = 0
    for (const { name, executable } of files) {
      const content = readFileSync(join(root, name))
      await new Promise<void>((resolve, reject) => {
        const header = { name, mode: executable ? 0o755 : 0o644, uid: 0, gid: 0, mtime: new Date(0) }
        tar.entry(header, content, (error) => (error ? reject(error) : resolve()))
      })
      sent += content.length
      onBytes(sent)
    }
    tar.finalize()
  }
  send().catch((error: Error) => tar.destroy(error))
  return tar
}
