import { counter, gauge, histogram, type Registry } from '../lib/metrics.ts'

/** What the agent counts. `crops_made = crops_published + crops_pending + crops_dropped{reason}`, always. */
export type Meters = ReturnType<typeof openMeters>

const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]

/** What waits for the broker. */
export function measurePending(
  registry: Registry,
  publisher: { readonly pending: number; readonly pendingBytes: number },
): void {
  gauge(registry, 'crops_pending', 'Crops that the broker has not acknowledged yet', [], (it) =>
    it.set(publisher.pending),
  )
  gauge(registry, 'crops_pending_bytes', 'Bytes of those crops', [], (it) => it.set(publisher.pendingBytes))
}

export function openMeters(registry: Registry) {
  return {
    framesCaptured: counter(registry, 'frames_captured_total', 'Frames given to the detector', ['camera']),
    framesSkipped: counter(registry, 'frames_skipped_total', 'Frames not given to the detector', [
      'camera',
      'reason',
    ]),
    damaged: counter(registry, 'source_damaged_total', 'Photos, packets and files that could not be read', [
      'camera',
      'what',
    ]),
    sourceUp: gauge(registry, 'source_up', '1 while frames can be read from the source', ['camera']),
    sourceFailures: counter(registry, 'source_failures_total', 'Times a source failed', ['camera']),
    facesDetected: counter(registry, 'faces_detected_total', 'Faces found', ['camera']),
    facesPassedOver: counter(registry, 'faces_passed_over_total', 'Faces without a crop', [
      'camera',
      'reason',
    ]),
    tracksStarted: counter(registry, 'tracks_started_total', 'Face tracks started', ['camera']),
    tracksEnded: counter(registry, 'tracks_ended_total', 'Face tracks ended', ['camera']),
    eventsSent: counter(registry, 'events_sent_total', 'Events handed to the broker', ['camera']),
    eventsDropped: counter(registry, 'events_dropped_total', 'Events lost', ['camera', 'reason']),
    commandsTaken: counter(registry, 'commands_taken_total', 'Commands carried out', ['camera', 'command']),
    commandsIgnored: counter(registry, 'commands_ignored_total', 'Commands ignored', ['reason']),
    desiredApplied: counter(
      registry,
      'desired_applied_total',
      'Configurations from the console that were applied',
      [],
    ),
    desiredRefused: counter(
      registry,
      'desired_refused_total',
      'Configurations from the console that were refused',
      ['reason'],
    ),
    livePictures: counter(registry, 'live_pictures_total', 'Live pictures sent to the broker', ['camera']),
    liveLost: counter(registry, 'live_lost_total', 'Live pictures that were not sent', ['camera', 'reason']),
    previewPictures: counter(registry, 'preview_pictures_total', 'Pictures made for the preview', ['camera']),
    previewLost: counter(registry, 'preview_lost_total', 'Pictures that a slow viewer missed', ['camera']),
    previewViewers: gauge(registry, 'preview_viewers', 'Current viewers of the preview', []),
    cropsMade: counter(registry, 'crops_made_total', 'Crops handed to the publisher', ['camera', 'mode']),
    cropsPublished: counter(registry, 'crops_published_total', 'Crops acknowledged by the broker', [
      'camera',
    ]),
    cropsDropped: counter(registry, 'crops_dropped_total', 'Crops lost before the broker got them', [
      'camera',
      'reason',
    ]),
    clipsMade: counter(registry, 'clips_made_total', 'Chunks of recordings made', ['camera']),
    clipBytes: counter(registry, 'clip_bytes_total', 'Bytes of those chunks', ['camera']),
    clipGaps: counter(registry, 'clip_gaps_total', 'Gaps in recordings', ['camera', 'why']),
    clipsPublished: counter(registry, 'clips_published_total', 'Chunks acknowledged by the broker', [
      'camera',
    ]),
    clipsDropped: counter(
      registry,
      'clips_dropped_total',
      'Chunks that the outbox did not take; what it took and lost, see queue_dropped_total',
      ['camera', 'reason'],
    ),
    recordLost: counter(
      registry,
      'record_lost_total',
      'Packets, pictures and chunks that a recording had no room for',
      ['camera', 'what'],
    ),
    cropsUnprocessed: counter(
      registry,
      'crops_unprocessed_total',
      'Crops that a classifier or plugin did not look at, or not in time; they were published without its attributes',
      ['processor', 'reason'],
    ),
    attributesCut: counter(
      registry,
      'attributes_cut_total',
      'Attributes that were left out because a crop had too many, or no room for all of them',
      ['camera'],
    ),
    framesUnprocessed: counter(
      registry,
      'frames_unprocessed_total',
      'Frames that a plugin missed: it was busy, or failed, or was late',
      ['processor', 'reason'],
    ),
    picturesWithheld: counter(
      registry,
      'pictures_withheld_total',
      'Pictures that viewers did not get because a plugin did not change them, or not in time',
      ['processor', 'reason'],
    ),
    pluginEvents: counter(registry, 'plugin_events_total', 'Events of plugins handed to the broker', [
      'processor',
    ]),
    pluginEventsDropped: counter(
      registry,
      'plugin_events_dropped_total',
      'Events of plugins that were too many',
      ['processor'],
    ),
    processorUp: gauge(registry, 'processor_up', '1 while a classifier or plugin works', ['processor']),
    processorsEnded: counter(
      registry,
      'processors_ended_total',
      'Times a classifier or plugin ended, or was ended because it hung',
      ['processor'],
    ),
    processSeconds: histogram(registry, 'process_seconds', 'Time of one second look', SECONDS, ['processor']),
    inferenceAsked: counter(registry, 'inference_asked_total', 'Looks asked of an inference server', [
      'server',
    ]),
    inferenceFailed: counter(
      registry,
      'inference_failed_total',
      'Looks that an inference server did not answer in time, or rightly',
      ['server', 'reason'],
    ),
    inferenceReady: gauge(registry, 'inference_ready', '1 while the inference server can be asked', [
      'server',
    ]),
    inferenceSeconds: histogram(
      registry,
      'inference_seconds',
      'Time until an inference server answered',
      SECONDS,
      ['server'],
    ),
    detectSeconds: histogram(registry, 'detect_seconds', 'Time of one detection', SECONDS),
  }
}
