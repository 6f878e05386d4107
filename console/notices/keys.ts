import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import webPush from 'web-push'
import { z } from 'zod'
import { failure, systemCode } from '../../lib/errors.ts'
import { keepFile } from '../../lib/keep-file.ts'

/**
 * What this console signs with: addresses of pictures, and pushes to browsers (VAPID), whose subscriptions are bound to the
 * key. Made once, and kept beside the inbox for its owner alone; no answer, log or backup of the database has it.
 */
const FILE_NAME = 'notices.keys.json'
const LINK_KEY_BYTES = 32

const keysSchema = z.strictObject({
  link: z.base64().min(40),
  vapid: z.strictObject({ publicKey: z.string().min(80), privateKey: z.string().min(40) }),
})

export interface NoticeKeys {
  /** Of addresses of pictures (links.ts). */
  readonly link: Buffer
  /** base64url. */
  readonly vapid: { readonly publicKey: string; readonly privateKey: string }
}

/** Errors: STORE_DAMAGED, FOLDER_UNWRITABLE, DISK_FULL. */
export async function openKeys(folder: string): Promise<NoticeKeys> {
  const file = join(folder, FILE_NAME)
  try {
    const { link, vapid } = keysSchema.parse(JSON.parse(await readFile(file, 'utf8')))
    return { link: Buffer.from(link, 'base64'), vapid }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT')
      throw failure(
        'STORE_DAMAGED',
        `Cannot use ${file}. Restore it from a backup, or delete it: then browsers have to ask for notices again, and addresses of pictures in old notices end.`,
        error,
      )
  }
  const made = {
    link: randomBytes(LINK_KEY_BYTES).toString('base64'),
    vapid: webPush.generateVAPIDKeys(),
  }
  keepFile(`${JSON.stringify(made)}\n`, file, 0o600)
  return { link: Buffer.from(made.link, 'base64'), vapid: made.vapid }
}
