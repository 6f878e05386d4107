import { serveThread, Thread } from '../../lib/thread.ts'
import type { Said } from '../../models/classify.ts'
import type { Rgb } from '../../models/tensor.ts'
import type { Attribute } from '../../wire/attributes.ts'
import type { DeviceConfig, ProcessorConfig } from '../config.ts'
import { type Classifier, type ClassifierOptions, openClassifier } from './classifier.ts'
import type { CropPixels, Processor } from './processor.ts'
import { shownOf } from './shown.ts'

/** A classifier in a thread of its own, for the reason that a detector has one: a network's run holds its thread. */
const ROLE = 'sightline classifier'

type Opened = Pick<Classifier, 'by' | 'threshold' | 'margin'>

/** What a classifier needs of its processor's settings. */
type Wanted = Pick<ProcessorConfig, 'name' | 'scoreMin'> & Pick<ClassifierOptions, 'model' | 'entry'>

/** Errors: those of `openClassifier`. */
export async function openClassifierThread(
  { name, model, entry, scoreMin }: Wanted,
  { modelFolder, catalog }: Pick<DeviceConfig['detect'], 'modelFolder' | 'catalog'>,
): Promise<Processor> {
  const data: ClassifierOptions = { model, entry, modelFolder, catalog }
  const thread = await Thread.open({ url: import.meta.url, role: ROLE, data, isUncut: true })
  const { by, threshold, margin } = thread.opened as Opened
  return {
    name,
    by,
    async attributes({ rgb, width, height, metadata }: CropPixels): Promise<readonly Attribute[]> {
      const shown = shownOf({ data: rgb, width, height }, metadata, margin)
      const transfer = [shown.data.buffer as ArrayBuffer]
      const said = (await thread.call(shown, { transfer })) as Said | undefined
      if (said === undefined || said.score < (scoreMin ?? threshold)) return []
      return [{ name, label: said.label, score: Math.round(said.score * 1000) / 1000, by }]
    },
    ended: thread.ended,
    kill: (why) => thread.kill(why),
    [Symbol.asyncDispose]: () => thread[Symbol.asyncDispose](),
  }
}

await serveThread(ROLE, async (options: ClassifierOptions) => {
  const classifier = await openClassifier(options)
  const { by, threshold, margin } = classifier
  const opened: Opened = { by, threshold, margin }
  return {
    opened,
    call: async (picture) => ({ value: await classifier.look(picture as Rgb) }),
    close: async () => await classifier[Symbol.asyncDispose](),
  }
})
