/** Every limit of this room that is no setting. */

/** A model's file, and its description where that is one of its own (TensorFlow.js). Face detectors are a few MB. */
export const MODEL_BYTES_MAX = 512 * 1024 * 1024
export const MODEL_JSON_BYTES_MAX = 32 * 1024 * 1024
/** Measuring providers and thread counts at a start, all together, ms; of one of them; and inferences of one. */
export const MEASURE_MS_MAX = 2000
export const MEASURE_ONE_MS_MAX = 150
export const MEASURE_RUNS_MIN = 5
export const MEASURE_RUNS_MAX = 100
/** Verdicts remembered in a model folder; the oldest go. */
export const VERDICTS_MAX = 64
