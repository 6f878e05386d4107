/** Every limit of this room that is no setting. */

/** Of a request whose tensors are JSON: reading it holds the only thread that answers (320x320x3: 20 ms, 640x640x3: 100 ms). */
export const JSON_BYTES_MAX = 16 * 1024 * 1024
/** An inference that takes longer hangs: its thread is ended and opened again, ms. */
export const RUN_MS_MAX = 60_000
/** Tensors that run together, as the model takes them: activations need several times as much. */
export const BATCH_BYTES_MAX = 64 * 1024 * 1024
/** To load a model, measure on what it runs best, and try it, ms. TensorRT builds an engine first. */
export const OPEN_MS_MAX = 600_000
/** Between two attempts to open a model's thread again. */
export const REOPEN_DELAY = { delayMsMin: 500, delayMsMax: 30_000 }
/** How much two rows may differ from what each gives alone, a part of the value. */
export const ROW_DIFFERENCE_MAX = 1e-3
/** Sides of a picture that a model is tried with, where its catalogue entry says none, pixels. */
export const TRIAL_SIDE = 320

/** From the connection, or the end of the request before, to the end of a request's headers. */
export const HEADERS_MS_MAX = 10_000
/** To the end of its body. */
export const REQUEST_MS_MAX = 30_000
/** Nothing goes either way: longer than a request may wait and run. */
export const SILENCE_MS_MAX = 120_000
/** Between two requests: longer than proxies keep a connection (60 s), so that they close it and no request is lost. */
export const KEEP_ALIVE_MS_MAX = 72_000
export const CHECK_INTERVAL_MS = 1000
/** What is still read of a body that was refused, so that the client hears why. */
export const REFUSED_BYTES_MAX = 4 * 1024 * 1024
export const REFUSED_MS_MAX = 2000
/** After the last answer, connections that are idle wait so long for one more request, which is told to go elsewhere. */
export const FAREWELL_MS_MAX = 500
/** When to come again, where nothing better is known, s. */
export const RETRY_AFTER_S = 1
export const RETRY_AFTER_S_MAX = 60

/** The file of tokens is looked at so often, ms. */
export const TOKENS_LOOK_MS = 1000

/** Of one connection, by gRPC. */
export const GRPC_STREAMS_MAX = 128
/** Of a message's typed contents, which become numbers one by one; raw contents stay bytes. */
export const CONTENTS_BYTES_MAX = 8 * 1024 * 1024
export const GRPC_WINDOW_BYTES = 4 * 1024 * 1024
