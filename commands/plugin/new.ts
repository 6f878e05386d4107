import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { failure, systemCode } from '../../lib/errors.ts'
import { isName, NAME_RULE } from '../../wire/names.ts'

/** They lie in `template/` as text, so that nobody takes them for modules of Sightline; NAME is the plugin's name. */
const FILES = ['NAME.ts', 'NAME.test.ts', 'package.json', 'README.md']

/** Writes a plugin to begin with. @returns the exit status. Errors: NAME_INVALID, FILE_EXISTS, FOLDER_UNWRITABLE */
export function newPlugin(name: string, folder = name): number {
  if (!isName(name)) throw failure('NAME_INVALID', `"${name}" cannot be a plugin's name: ${NAME_RULE}.`)
  try {
    mkdirSync(folder, { recursive: true })
    for (const file of FILES) {
      const text = readFileSync(new URL(`./template/${file}.txt`, import.meta.url), 'utf8')
      writeFileSync(join(folder, file.replaceAll('NAME', name)), text.replaceAll('NAME', name), {
        flag: 'wx',
      })
    }
  } catch (error) {
    if (systemCode(error) === 'EEXIST')
      throw failure(
        'FILE_EXISTS',
        `${folder} has files of a plugin already. Give another folder: --folder FOLDER.`,
        error,
      )
    throw failure('FOLDER_UNWRITABLE', `Cannot write the plugin into ${folder}: ${error}.`, error)
  }
  const module = join(folder, `${name}.ts`)
  process.stdout.write(`${module}

  its test:                     cd ${folder} && npm test
  with faces, as the agent:     sightline plugin test ${module}
  in the device's file:         process: [{ name: ${name}, module: ${module} }]
`)
  return 0
}
