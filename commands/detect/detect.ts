import { parseArgs } from 'node:util'
import { failure } from '../../lib/errors.ts'
import { type Command, parse } from '../command.ts'
import type { Chosen } from './options.ts'

export const detect: Command = {
  summary: 'find faces in pictures; how well a model sees, and how fast',
  help: `Finds the faces of pictures with the device's detector, without a camera.

Usage: sightline detect FILE...
       sightline detect eval FOLDER
       sightline detect bench

With files: a line of JSON for each, with boxes (left, top, width, height),
scores and landmarks in pixels of the picture as displayed. eval compares the
model with the boxes.json of a folder of photos (photo to list of boxes) and
prints recall, precision and average precision; of a classifier, with a folder
of crops for each label, how often it is right and what it confuses. bench times
the model on every execution provider and number of threads, saves which is
fastest, and prints how much of a detection is the network.

Options:
  --config FILE      the device's configuration
  --model MODEL      a name of "sightline models list", or the path of a model
  --input WxH        the input size, for models that accept any
  --runtime NAME     auto, onnx or tfjs; remote, compreface or codeproject: at
                     the servers of the configuration
  --provider NAME    auto, cpu, cuda, tensorrt, coreml or directml
  --score-min SCORE  minimum score of a face, or of what a classifier says of it
                     (default: depends on the model)
  --draw OUT         with files: draw the boxes; OUT is a picture, or a folder
  --crops FOLDER     with files: cut the faces out as the device does, to sort
                     them by label for eval
  --iou SHARE        eval: how much boxes must overlap (default: 0.4)
  --json             eval, bench: as JSON
  --help             this text
`,
  async run(argv) {
    const { values, positionals } = parse('detect', () =>
      parseArgs({
        args: argv,
        allowPositionals: true,
        options: {
          config: { type: 'string' },
          model: { type: 'string' },
          input: { type: 'string' },
          runtime: { type: 'string' },
          provider: { type: 'string' },
          'score-min': { type: 'string' },
          draw: { type: 'string' },
          crops: { type: 'string' },
          iou: { type: 'string' },
          json: { type: 'boolean' },
        },
      }),
    )
    const [first, ...rest] = positionals
    const verb = first === 'eval' || first === 'bench' ? first : 'files'
    if (
      first === undefined ||
      (verb === 'eval' && rest.length !== 1) ||
      (verb === 'bench' && rest.length > 0)
    )
      throw failure(
        'USAGE',
        'Write: sightline detect FILE..., sightline detect eval FOLDER, or sightline detect bench. See sightline detect --help.',
      )
    const useless = [
      verb !== 'files' && values.draw !== undefined && '--draw',
      verb !== 'files' && values.crops !== undefined && '--crops',
      verb !== 'eval' && values.iou !== undefined && '--iou',
      verb === 'files' && values.json && '--json',
    ].find(Boolean)
    if (useless)
      throw failure(
        'USAGE',
        `"sightline detect ${verb}" does not take ${useless}. See sightline detect --help.`,
      )
    const { config, model, input, runtime, provider, draw, crops, json = false } = values
    const chosen: Chosen = {
      config,
      model,
      input: input === undefined ? undefined : sizeOf(input),
      runtime,
      provider,
      scoreMin: values['score-min'] === undefined ? undefined : share('--score-min', values['score-min']),
    }
    if (verb === 'bench') return (await import('./bench.ts')).bench(chosen, json)
    if (verb === 'files')
      return (await import('./files.ts')).detectFiles(positionals, chosen, { draw, crops })
    const iou = values.iou === undefined ? undefined : share('--iou', values.iou)
    return (await import('./eval.ts')).evaluateFolder(rest[0] as string, chosen, iou, json)
  },
}

function sizeOf(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? []
  if (!width || !height) throw failure('USAGE', `--input needs a size, e.g. 640x384, not "${text}".`)
  return { width: Number(width), height: Number(height) }
}

function share(option: string, text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw failure('USAGE', `${option} needs a number from 0 to 1, e.g. 0.4, not "${text}".`)
  return value
}
