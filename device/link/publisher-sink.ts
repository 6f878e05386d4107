import { CLIP, keptTopic } from '../../wire/kinds.ts'
import type { ClipSink } from '../record/sink.ts'
import type { Publisher } from './publish.ts'

/** Without an outbox chunks take the way of crops: into memory, until the broker has them. */
export function publisherSink(prefix: string, publisher: Pick<Publisher, 'offer'>): ClipSink {
  return {
    offer: ({ metadata, payload }) =>
      publisher.offer({
        camera: metadata.camera,
        topic: keptTopic(prefix, CLIP, metadata),
        payload,
        payloadBytesMax: CLIP.payloadBytesMax,
      }),
  }
}
