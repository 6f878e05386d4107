import { z } from 'zod'
import { failure } from '../../../lib/errors.ts'
import { multipart } from '../../../lib/http/multipart.ts'
import { said } from '../remote/http.ts'
import type { DetectionApi } from './api.ts'
import { cornersShape, facesOf, readJson, shareSchema, wrong } from './faces.ts'

/**
 * CodeProject.AI Server's "Face Detection": https://codeproject.github.io/codeproject.ai/api/api_reference.html
 * It has no keys of its own; a token is for the proxy that stands before it.
 */
const PATH = '/v1/vision/face'

const answerSchema = z.object({
  success: z.boolean(),
  predictions: z.array(z.object({ confidence: shareSchema, ...cornersShape })).nullish(),
  error: z.string().nullish(),
})

/** Some versions call a picture without faces a failure: https://github.com/codeproject/CodeProject.AI-Server/issues/28 */
const NO_FACE = /^no faces? found\b/i

export const codeproject: DetectionApi = {
  product: 'CodeProject.AI',
  // Its own default.
  scoreMinDefault: 0.4,
  request({ jpeg, scoreFloor, token }) {
    const { type, body } = multipart([
      { name: 'image', filename: 'frame.jpg', type: 'image/jpeg', content: jpeg },
      { name: 'min_confidence', content: scoreFloor.toFixed(3) },
    ])
    return {
      path: PATH,
      headers: { 'content-type': type, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      body,
    }
  },
  /** Most of its failures have status 200, too. */
  read(answer, picture) {
    if (answer.status !== 200) return undefined
    const { success, predictions, error } = readJson(answer, answerSchema)
    if (success && predictions)
      return facesOf(predictions, picture, ({ confidence, ...box }) => ({ box, score: confidence }))
    if (success) throw wrong('predictions: missing')
    if (NO_FACE.test(error ?? '')) return []
    throw failure(
      'INFERENCE_UNAVAILABLE',
      `It failed: ${said(error ?? 'it does not say of what').replace(/\.$/, '')}.`,
    )
  },
}
