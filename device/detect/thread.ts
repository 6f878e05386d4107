import { serveThread, Thread } from '../../lib/thread.ts'
import type { Detection, Detector, Picture } from './detector.ts'
import { type DetectorOptions, openDetector } from './open.ts'

/**
 * A detector in a thread of its own. ONNX Runtime's `run` for Node is synchronous behind its promise: it holds
 * the thread that calls it for the whole inference, 5 to 30 ms a frame here, 100 ms on a small board, while no
 * packet is read and no decoded frame taken. A picture is copied on its way there (320x180: 0.05 ms).
 */
const ROLE = 'sightline detector'

/** What is told of a detector that is open. */
type Opened = Pick<Detector, 'model' | 'runtime' | 'input' | 'scoreMin' | 'measured'>

/** As `openDetector`, in a thread of its own. Errors: the same. */
export async function openDetectorThread(options: DetectorOptions = {}): Promise<Detector> {
  const thread = await Thread.open({ url: import.meta.url, role: ROLE, data: options, isUncut: true })
  let closed: Promise<void> | undefined
  return {
    ...(thread.opened as Opened),
    detect: async ({ data, width, height }: Picture) =>
      (await thread.call({ data, width, height })) as Detection[],
    [Symbol.asyncDispose]: () => {
      closed ??= thread[Symbol.asyncDispose]()
      return closed
    },
  }
}

await serveThread(ROLE, async (options: DetectorOptions) => {
  const detector = await openDetector(options)
  const { model, runtime, input, scoreMin, measured } = detector
  const opened: Opened = { model, runtime, input, scoreMin, measured }
  return {
    opened,
    call: async (picture) => ({ value: await detector.detect(picture as Picture) }),
    close: () => detector[Symbol.asyncDispose](),
  }
})
