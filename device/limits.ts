/** Every limit of this room that is no setting: how much, how long, how often. */

/** Decoded frames that wait between decoder and detector where no frame may be skipped. A 1080p frame is 3 MB. */
export const FRAMES_AHEAD_MAX = 2
/** Wait between attempts to open a live source again, ms. */
export const SOURCE_RETRY_MS_MIN = 500
export const SOURCE_RETRY_MS_MAX = 15_000
/** Threads of one video decoder: beyond four, the gain is small and each holds frames. */
export const DECODER_THREADS_MAX = 4
/** Of a stream, so much is looked at before it is played, ms: FFmpeg would wait 5 s for sound that never comes. */
export const PROBE_MS_MAX = 2000
/** Pixels of one picture, photo or video. Raw RGB takes three bytes each. */
export const PICTURE_PIXELS_MAX = 64_000_000
/** Photos that one folder may name. */
export const PHOTOS_MAX = 1_000_000
/** A watched folder is looked at so often, ms; and a look that takes long is followed by ten times as long a rest. */
export const WATCH_MS_MIN = 500
export const WATCH_REST_FACTOR = 10
/** A file in a watched folder is complete when it has not changed for so long, ms. */
export const WATCH_SETTLED_MS = 1000
/** Files that a watched folder no longer has and that are remembered all the same, should they come back. */
export const WATCH_REMEMBERED_MAX = 10_000
/** Bytes of one still. */
export const STILL_BYTES_MAX = 64_000_000
/** Pictures that a webcam throws away before a still: its exposure needs some to settle. */
export const STILL_SKIPPED = 10
/** Rectangles and polygons that one camera hides, and the corners of each. */
export const MASKS_MAX = 32
export const MASK_CORNERS_MAX = 64
/** A video whose declared length is missed by more than this (seconds, and fraction of it) is cut off. */
export const SHORTFALL_S_MAX = 0.5
export const SHORTFALL_RATIO_MAX = 0.02
/** Motion: grey levels by which a cell must differ, */
export const MOTION_LEVELS = 12
/** how long a scene counts as moving after it last did, ms, */
export const MOTION_HOLD_MS = 2000
/** and within what time the reference goes two thirds of the way to what is there now, ms. */
export const MOTION_SETTLE_MS = 10_000
/** Wait for CONNACK, ms. */
export const CONNECT_MS_MAX = 10_000
/** A broker that answers pings but acknowledges nothing for so long is left, and everything is sent again. */
export const ACKNOWLEDGE_MS_MAX = 60_000
/** Connections that end in a row without a single acknowledgement before we say that the broker refuses crops. */
export const FRUITLESS_CONNECTIONS_MAX = 3
/** What draining leaves of its deadline for the farewell (status offline, DISCONNECT), ms. */
export const FAREWELL_MS_MAX = 500
/** Clocks before this year have not been set. */
export const CLOCK_YEAR_MIN = 2024
