import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { failure, systemCode } from '../../lib/errors.ts'
import { isName, NAME_RULE } from '../../wire/names.ts'
import { TEMPLATE } from './template.ts'

/** Writes a plugin to begin with. @returns the exit status. Errors: NAME_INVALID, FILE_EXISTS, FOLDER_UNWRITABLE */
export function newPlugin(name: string, folder = name): number {
  if (!isName(name)) throw failure('NAME_INVALID', `"${name}" cannot be a plugin's name: ${NAME_RULE}.`)
  try {
    mkdirSync(folder, { recursive: true })
    for (const [file, text] of Object.entries(TEMPLATE))
      writeFileSync(join(folder, file.replaceAll('NAME', name)), text.replaceAll('NAME', name), {
        flag: 'wx',
      })
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
