import { HOSTILE_CONFIG } from './hostile-config.ts'
import { HOSTILE_CROP } from './hostile-crop.ts'
import { HOSTILE_HTTP } from './hostile-http.ts'
import { HOSTILE_MQTT } from './hostile-mqtt.ts'
import type { Trial } from './trial.ts'

/** Bytes that mean harm, at the four doors through which bytes come in. */
export const HOSTILE_TRIALS: readonly Trial[] = [HOSTILE_MQTT, HOSTILE_CROP, HOSTILE_CONFIG, HOSTILE_HTTP]
