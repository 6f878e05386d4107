import { stat } from 'node:fs/promises'

/** What tells that a file has changed. A rename brings another inode, an edit other times; a file that may be read now has another ctime. */
export async function signatureOf(file: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
    return [ino, size, mtimeNs, ctimeNs].join()
  } catch {
    return 'away' // reading it says why
  }
}
