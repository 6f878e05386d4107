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
/** Pixels whose longer side is less than so much longer than the other count as square; more than so much no camera has. */
export const PIXEL_ASPECT_MIN = 1.01
export const PIXEL_ASPECT_MAX = 4
/** A recording's clock that goes on by more than this, or back by more than that, has been set: it starts again, s. */
export const CLOCK_AHEAD_S_MAX = 10
export const CLOCK_BACK_S_MAX = 1
/** And, where frames are far apart (a time lapse), by more than so many of them. */
export const CLOCK_AHEAD_FRAMES_MAX = 10
/** What a video may say that one frame lasts, s. */
export const FRAME_S_MIN = 1 / 240
export const FRAME_S_MAX = 3600
/** A recording that is played late by more than this goes on from where it is, ms. */
export const PLAY_LATE_MS_MAX = 1000
/** A looped recording at an address is asked for no sooner than so long after the last time, ms. */
export const LOOP_MS_MIN = 1000
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
/** The scene of a live source is looked at so often, ms; pictures further apart say nothing of what was between them. */
export const SCENE_LOOK_MS = 500
export const SCENE_GAP_MS_MAX = 15_000
/** It is learnt when it has been seen for so long, ms. */
export const SCENE_LEARNT_MS = 10_000
/** Nothing has been seen for so long: the camera is covered, ms; where it is dark, later. */
export const SCENE_COVERED_MS = 5000
export const SCENE_COVERED_DARK_MS = 30_000
/** Another scene has been seen for so long: the camera is turned away, ms; and then that is its scene. */
export const SCENE_TURNED_MS = 30_000
export const SCENE_LEARNT_ANEW_MS = 3_600_000
/** The same picture, byte by byte, has come for so long: it is frozen, ms. */
export const SCENE_FROZEN_MS = 30_000
/** What is learnt is seen again for so long: all is well, ms. */
export const SCENE_SETTLE_MS = 3000
/** Wait for CONNACK, ms. */
export const CONNECT_MS_MAX = 10_000
/** A broker that answers pings but acknowledges nothing for so long is left, and everything is sent again. */
export const ACKNOWLEDGE_MS_MAX = 60_000
/** Connections that end in a row without a single acknowledgement before we say that the broker refuses crops. */
export const FRUITLESS_CONNECTIONS_MAX = 3
/** A connection that lives on for so long did not end over what was published; what it did is left out for a while, ms. */
export const REFUSED_WITHIN_MS = 5000
export const REFUSED_REST_MS = 600_000
/** What draining leaves of its deadline for the farewell (status offline, DISCONNECT), ms. */
export const FAREWELL_MS_MAX = 500
/** What was signed last is flushed so long after it was written, ms, and written anew when its file has grown to so much. */
export const CHAIN_SYNC_MS = 1000
export const CHAIN_FILE_BYTES_MAX = 256_000
/** How often a device looks whether its clock has been set, and a configuration is no longer of the far future, ms. */
export const DESIRED_DUE_MS = 30_000
/** Clocks before this year have not been set. */
export const CLOCK_YEAR_MIN = 2024
/** The part of the detector's score threshold down to which a face that is followed already is still seen. */
export const SCORE_LOW = 0.4
/** Faces followed at a time, for each camera; further ones are counted and have no track. */
export const TRACKS_MAX = 100
/** Frames further apart than this (half of it) tell nothing about who is who. */
export const TRACK_GAP_MS_MAX = 10_000
/** Pixels of best shots that wait for their tracks to end, bytes, all cameras together. */
export const BEST_SHOTS_BYTES_MAX = 64_000_000
/** A face has come into a zone, or left it, when it has been so for so long, ms. */
export const ZONE_SETTLE_MS = 300
/** A face that is hidden for no longer is still counted as present, ms. */
export const PRESENT_HIDDEN_MS_MAX = 1000
/** With `emit.first`: so long after a face is sure its first picture may wait to be a better one, ms. */
export const FIRST_WAIT_MS_MAX = 250
/** Between two updates of one track's event, ms. */
export const EVENT_UPDATE_MS_MIN = 1000
/** Events written and not yet out of this process; more are dropped, so that crops never wait behind them. */
export const EVENTS_IN_FLIGHT_MAX = 200
/** Between two of a camera's states, ms. */
export const STATE_MS_MIN = 1000
/** Between two snapshots of a camera, ms, and how long one waits for a frame. */
export const SNAPSHOT_MS_MIN = 1000
export const SNAPSHOT_WAIT_MS_MAX = 10_000
/** Longer sides of a snapshot, pixels: the largest whose JPEG the broker takes. */
export const SNAPSHOT_SIDES = [1920, 1280, 640] as const
/** A preview's picture: its width, pixels, and its JPEG's quality. */
export const PREVIEW_WIDTH_MAX = 960
/** Boxes that go with a picture of the live preview; the surest. */
export const PREVIEW_FACES_MAX = 200
export const PREVIEW_QUALITY = 75
/** A picture that a preview's viewer has not taken for so long ends the connection, ms. */
export const PREVIEW_STALLED_MS_MAX = 30_000
/** Without a new picture the last one is sent again after so long, ms: so who has gone is noticed. */
export const PREVIEW_REPEAT_MS = 5000
/** A live picture over MQTT: pictures a second, and how it is made small enough, the best first: width, then quality. */
export const LIVE_RATE_MAX = 10
export const LIVE_WIDTHS = [960, 640, 320] as const
export const LIVE_QUALITIES = [75, 60, 45, 30] as const
/** Live pictures, of all cameras, that the broker has not read yet. */
export const LIVE_IN_FLIGHT_MAX = 2
/** Under an effect: how long a face that is gone stays hidden where it was, ms, and how many of one camera; more hide all. */
export const HIDDEN_MS = 2000
export const HIDDEN_MAX = 400
/** Where nobody can look for faces, they are hidden widely for so long; then everything is, ms. */
export const BLIND_MS = 500
/** Between two pictures that say that a camera is paused, ms. */
export const LIVE_PAUSED_REPEAT_MS = 5000
/** The system's clock has been set where it goes on by this much more or less than the time that has passed, ms. */
export const CLOCK_SET_MS_MIN = 1000
/** A recording's times follow those of arrival by at most this part of the time that has passed, */
export const WALL_SLEW_MAX = 0.005
/** by this part where they are ahead by more than so much, ms; where they lag by more for so long, time is missing, ms. */
export const WALL_SLEW_FAST_MAX = 0.1
export const WALL_LAG_MS_MAX = 2000
export const WALL_LAG_FOR_MS_MAX = 30_000
/** What a chunk of a recording may be told to last, ms. */
export const CHUNK_MS_LEAST = 500
export const CHUNK_MS_MOST = 60_000
/** A chunk whose camera sends no key frame is cut after so long, ms; */
export const CHUNK_MS_MAX = 10_000
/** and it leaves so much of a message for metadata, signature and tables, bytes. */
export const CHUNK_ROOM_BYTES = 256_000
/** Packets at a stream's beginning that say no time, and wait for one that does. */
export const UNTIMED_PACKETS_MAX = 32
/** The longer side of a recording that is encoded here, pixels: larger pictures are made smaller. */
export const ENCODED_SIDE_MAX = 3840
/** Threads of one encoder. */
export const ENCODER_THREADS_MAX = 2
/** Packets of one camera that wait for the muxer, bytes; */
export const RECORD_WAITING_BYTES_MAX = 32_000_000
/** pictures that wait for the encoder: each is a reference to a decoded one. */
export const PICTURES_WAITING_MAX = 4
/** A chunk waits so long for what detection says of it, ms. */
export const FACES_WAIT_MS = 1000
/** What detection said, kept until the chunk is made: looks at frames. */
export const LOOKS_MAX = 20_000
/** Cameras of a device, and streams that may come to it, each. */
export const CAMERAS_MAX = 64
/** Connections of publishers, at each port; by address: those behind one router share one. */
export const PUBLISHERS_MAX = 256
export const PUBLISHERS_PER_ADDRESS_MAX = 32
/** The streams file is looked at so often, ms: revoking holds within two seconds. */
export const STREAMS_LOOK_MS = 500
/** The bitrate is taken over so long, ms, */
export const STREAMS_SAMPLE_MS = 1000
/** and what was seen of streams is written to disk so often, ms, while it changes. */
export const STREAMS_SEEN_MS = 5000
/** A publisher that has sent nothing for so long makes way for the next with its key, ms: it lost its line, most likely. */
export const PUBLISHER_SILENT_MS = 3000
/** Of a publisher's video, so much waits for the decoder, bytes; then its connection is read no further. */
export const PUSHED_BYTES_MAX = 4_000_000
/** And so many parts, pictures and sounds: of small ones each costs more than its bytes. */
export const PUSHED_PARTS_MAX = 4000
/** Nobody has taken anything of it for so long, ms: it ends. */
export const PUSHED_UNTAKEN_MS_MAX = 20_000
/** Of a stream that comes to us, so much is looked at before it is played, ms and bytes. */
export const PUSHED_PROBE_MS_MAX = 500
export const PUSHED_PROBE_BYTES_MAX = 2_000_000
/** WHIP: sessions at once, all keys together; one address may have so many of them. */
export const WHIP_SESSIONS_MAX = 64
/** Bytes of one offer; browsers send 5 to 10 KB. Its media, and the addresses in it that are heeded. */
export const WHIP_OFFER_BYTES_MAX = 64 * 1024
export const WHIP_MEDIA_MAX = 4
/** Lines of one offer, and payload types of one of its media: browsers send hundreds of lines, and some 50 types. */
export const WHIP_LINES_MAX = 2000
export const WHIP_PAYLOAD_TYPES_MAX = 128
export const WHIP_CANDIDATES_MAX = 20
/** From an offer to its answer, ms: ports are opened and addresses gathered. */
export const WHIP_ANSWER_MS_MAX = 5000
/** From the answer to the first picture, ms: firewalls, ICE and DTLS lie between. */
export const WHIP_MEDIA_MS_MAX = 12_000
/** A publisher of which nothing has come for so long is gone, ms: those that die say nothing. */
export const WHIP_SILENCE_MS_MAX = 6000
/** So long a missing packet is waited for, ms, and so many that came after it wait. */
export const WHIP_REORDER_MS_MAX = 150
export const WHIP_REORDER_PACKETS_MAX = 1000
/** Of one picture: bytes, packets, and parts (NAL units), of which one packet may have several. */
export const WHIP_FRAME_BYTES_MAX = 8_000_000
export const WHIP_FRAME_PACKETS_MAX = 8000
export const WHIP_FRAME_UNITS_MAX = 8000
/** Between two requests for a key picture, ms. */
export const WHIP_KEY_REQUEST_MS_MIN = 500
/** How fast a publisher may send, told it so often, ms. 187,500 x 2^5 bit/s. */
export const WHIP_BITRATE_EVERY_MS = 500
export const WHIP_BITRATE_MANTISSA = 187_500
export const WHIP_BITRATE_EXPONENT = 5
/** A connection that has shown no key by then is closed, ms; */
export const PUBLISH_WITHIN_MS = 10_000
/** one that has shown a key and no picture by then, too, ms: a relay may begin between two key frames, far apart; */
export const PICTURE_WITHIN_MS = 20_000
/** a publisher who sends nothing for so long is gone, ms; */
export const PUBLISHER_GONE_MS = 10_000
/** and what is said to one at its end waits so long to be read, ms. */
export const FAREWELL_TO_PUBLISHER_MS = 1000
/** What was said to a publisher and not read, bytes: answers are short, and one who reads none goes. */
export const UNREAD_BY_PUBLISHER_BYTES_MAX = 65_536
/** Messages of RTMP in one. */
export const RTMP_AGGREGATE_MESSAGES_MAX = 2000
/** The silence of publishers is looked at so often, ms. */
export const PUBLISHERS_LOOK_MS = 500
/** Of one reading of a publisher's connection, bytes. */
export const RTMP_READ_BYTES = 65_536
/** Changes of streams from afar that are being made at a time; more are refused. */
export const STREAM_CHANGES_MAX = 16
/** A picture by HTTP has arrived by then, ms; */
export const PICTURE_MS_MAX = 15_000
/** so many bytes of all that are on their way are held; */
export const PICTURES_BYTES_MAX = 64_000_000
/** and whose last picture is so long ago has stopped sending, ms: a doorbell rings now and then. */
export const PICTURES_GONE_MS = 60_000
/** Clips sent and not acknowledged, beside two however large: messages, bytes. */
export const CLIPS_IN_FLIGHT_MAX = 64
export const CLIPS_IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024
/** Clips that wait for the outbox to be opened, or to be written, bytes; more are dropped and counted. */
export const CLIPS_UNWRITTEN_BYTES_MAX = 64 * 1024 * 1024
/** An outbox that cannot be opened is tried again after so long, ms. */
export const OUTBOX_RETRY_MS = 10_000
/** Clips that the broker will never take, set aside; the oldest are dropped. */
export const OUTBOX_QUARANTINE = {
  bytesMax: 200_000_000,
  entriesMax: 1000,
  ageMsMax: 30 * 86_400_000,
  whenFull: 'drop-oldest',
} as const
/** At the end, so long is waited for a connection over which what is in the outbox can go, ms. */
export const OUTBOX_FAREWELL_MS = 2000
/** What a device is told to be: a name is looked up within so long, ms; */
export const RESOLVE_MS_MAX = 5000
/** a camera that is tried gives its first picture within so long beyond its own timeout, ms; so many are tried at a time; */
export const TRY_MS_BEYOND = 5000
export const TRIED_AT_ONCE_MAX = 4
/** and its picture is at most so wide, pixels, in the qualities that are tried, the best first. */
export const TRIED_PICTURE_WIDTHS = [480, 320, 160] as const
export const TRIED_PICTURE_QUALITIES = [75, 50, 30] as const
/** A model that has to be downloaded first is there within so long, ms. */
export const MODEL_FETCH_MS_MAX = 120_000
/** One by address has so many bytes at most, and is opened within so long, ms. */
export const MODEL_BY_ADDRESS_BYTES_MAX = 128 * 1024 * 1024
export const MODEL_TRY_MS_MAX = 60_000
/** Of an answer of CompreFace or CodeProject.AI: its bytes, and its faces. */
export const ADAPTER_ANSWER_BYTES_MAX = 1024 * 1024
export const ADAPTER_FACES_MAX = 1000
/** Frames are sent to them at most so large, pixels, unless "detect.inputSize" says otherwise, as JPEG of this quality; */
export const ADAPTER_INPUT = { width: 640, height: 640 } as const
export const ADAPTER_JPEG_QUALITY = 90
/** and a black picture of this size, pixels, to learn whether they work: their detectors need no larger one. */
export const ADAPTER_PROBE = { width: 160, height: 160 } as const
/** Of one device, and of one request's answer, bytes. */
export const INFERENCE_SERVERS_MAX = 16
export const INFERENCE_ANSWER_BYTES_MAX = 32 * 1024 * 1024
/** A server that answers nothing is asked so often whether it is ready, ms, and has so long to say so; */
export const SERVER_READY_EVERY_MS = 3000
export const SERVER_READY_MS_MAX = 2000
/** one that failed is left alone for so long, ms: the more often, the longer; */
export const SERVER_REST_MS_MIN = 500
export const SERVER_REST_MS_MAX = 30_000
/** one that is not there, or not ready, for no longer than this; and one that is busy, whatever it says, than that, ms; */
export const SERVER_AWAY_MS_MAX = 5000
export const SERVER_BUSY_MS_MAX = 1000
/** One that refuses the token is asked again so rarely, ms: ten wrong ones in a minute, and a server refuses right ones, too. */
export const SERVER_DENIED_MS = 8000
/** and so many are asked about one frame, one after the other. */
export const SERVERS_ASKED_MAX = 3
/** Crops of one camera that are looked at again, while the next frames are looked at; then the camera waits. */
export const CROPS_LOOKED_AT_MAX = 8
/** A plugin has opened within so long, ms; */
export const PLUGIN_OPEN_MS_MAX = 30_000
/** its thread's heap, MB, and what it holds in buffers outside of it. */
export const PLUGIN_HEAP_MB_MAX = 512
export const PLUGIN_OUTSIDE_BYTES_MAX = 1024 * 1024 * 1024
/** What it writes into the log: characters of a sentence, and of its fields as JSON. */
export const PLUGIN_SENTENCE_CHARACTERS_MAX = 500
export const PLUGIN_FIELDS_CHARACTERS_MAX = 1000
/** What it says of the faces of one frame. */
export const FRAME_ATTRIBUTES_MAX = 400
/** Its events a second, of all cameras. */
export const PLUGIN_EVENTS_A_SECOND_MAX = 10
/** Followed faces of which plugins have said something, of one camera; those of whom something was said last. */
export const TRACKS_SAID_MAX = 200
/** Frames and viewers' pictures that one processor has and has not answered, of all cameras. */
export const PROCESSOR_FRAMES_MAX = 2
export const PROCESSOR_PICTURES_MAX = 8
/** A processor whose answer is late is ended when none at all has come for so many times its time limit. */
export const PROCESSOR_HUNG_FACTOR = 3
/** One that has ended is opened again after so long, ms; */
export const PROCESSOR_RETRY_MS_MIN = 1000
export const PROCESSOR_RETRY_MS_MAX = 60_000
/** and having lived for so long it is well: the next wait is the shortest again, ms. */
export const PROCESSOR_WELL_MS = 60_000
/** A camera at whose frames nobody could look for so long is down: who is there is not known, ms. */
export const DETECT_LOST_MS = 10_000
/** Where no frame may be passed over, it is looked at again so soon, ms, and so often where the answer was none. */
export const LOOK_AGAIN_MS_MIN = 100
export const LOOK_AGAIN_MS_MAX = 2000
export const LOOKS_WRONG_MAX = 3
/** The file of their token is looked at so often, ms. */
export const TOKEN_LOOK_MS = 5000
/** Servers that are there again have looked at so many frames beside the detector here, for so long, before it is relieved, ms. */
export const REMOTE_TRIED_LOOKS = 3
export const REMOTE_TRIED_MS = 2000
/** A configuration is not tried again when the agent has ended so often meanwhile. */
export const DESIRED_ENDS_MAX = 5
