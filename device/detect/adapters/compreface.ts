import { z } from 'zod'
import { multipart } from '../../../lib/http/multipart.ts'
import type { DetectionApi } from './api.ts'
import { cornersShape, facesOf, readJson, shareSchema } from './faces.ts'

/**
 * CompreFace's "Face Detection Service":
 * https://github.com/exadel-inc/CompreFace/blob/master/docs/Rest-API-description.md#face-detection-service
 * The key is the one of a service of type DETECTION in its console.
 */
const PATH = '/api/v1/detection/detect'

/**
 * A picture without faces is answered as an error: 400 with this code, "No face is found in the given image"
 * (https://github.com/exadel-inc/CompreFace/issues/1223; `CommonExceptionCode`, NO_FACES_FOUND).
 */
const NO_FACE_STATUS = 400
const NO_FACE_CODE = 28

const answerSchema = z.object({
  result: z.array(
    z.object({
      box: z.object({ probability: shareSchema, ...cornersShape }),
      /** Eyes, nose, mouth. By its plugin, which a build may lack. */
      landmarks: z
        .array(z.tuple([z.number(), z.number()]))
        .max(200)
        .nullish(),
    }),
  ),
})
const errorSchema = z.object({ code: z.number() })

export const compreface: DetectionApi = {
  product: 'CompreFace',
  // What its own detectors take where a request says nothing: 0.8 to 0.85.
  scoreMinDefault: 0.8,
  request({ jpeg, scoreFloor, token }) {
    const { type, body } = multipart([
      { name: 'file', filename: 'frame.jpg', type: 'image/jpeg', content: jpeg },
    ])
    const query = new URLSearchParams({
      limit: '0',
      det_prob_threshold: scoreFloor.toFixed(3),
      face_plugins: 'landmarks',
    })
    return {
      path: `${PATH}?${query}`,
      headers: { 'content-type': type, ...(token !== undefined && { 'x-api-key': token }) },
      body,
    }
  },
  read(answer, picture) {
    if (answer.status === NO_FACE_STATUS && isNoFace(answer.text)) return []
    if (answer.status !== 200) return undefined
    const { result } = readJson(answer, answerSchema)
    return facesOf(result, picture, ({ box, landmarks }) => ({
      box,
      score: box.probability,
      landmarks: landmarks ?? [],
    }))
  },
}

function isNoFace(text: string): boolean {
  try {
    return errorSchema.parse(JSON.parse(text)).code === NO_FACE_CODE
  } catch {
    return false
  }
}
