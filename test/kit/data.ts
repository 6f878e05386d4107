import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** Real models, photos and clips lie beside the checkout, not in it; see INDEX.md there. */
const FOLDER =
  process.env.SIGHTLINE_TEST_DATA ?? resolve(import.meta.dirname, '..', '..', '..', 'shared', 'data')

/** The path of a file or folder of the shared test data; undefined where it is absent: the test then skips. */
export function sharedData(path: string): string | undefined {
  const file = join(FOLDER, path)
  return existsSync(file) ? file : undefined
}
