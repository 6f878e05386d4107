import type { Detection } from '../detector.ts'
import type { Size } from '../head.ts'

/** One request to a detection API. */
export interface ApiRequest {
  /** Below the address: with its query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** What came back, whole. */
export interface ApiAnswer {
  readonly status: number
  readonly type: string
  readonly text: string
}

/** What a picture is asked about with. */
export interface ApiQuestion {
  readonly jpeg: Uint8Array
  /** Faces below it are not wanted, 0 to 1. */
  readonly scoreFloor: number
  /** The API key; undefined where none was given. */
  readonly token: string | undefined
}

/** The detection API of a product that people run: pure, what is asked and what an answer says. */
export interface DetectionApi {
  /** As it calls itself. */
  readonly product: string
  /** What scores less is no face, where the configuration does not say. */
  readonly scoreMinDefault: number
  request(question: ApiQuestion): ApiRequest
  /**
   * The faces of an answer, in pixels of the picture that was sent, in any order; undefined where it is none and its status
   * says why. Errors: INFERENCE_WRONG, INFERENCE_UNAVAILABLE.
   */
  read(answer: ApiAnswer, picture: Size): Detection[] | undefined
}
