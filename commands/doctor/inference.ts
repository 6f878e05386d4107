import { existsSync } from 'node:fs'
import type { InferenceConfig, ModelConfig } from '../../inference/config.ts'
import { type ModelOpened, openModelThread } from '../../inference/model-thread.ts'
import { Tokens } from '../../inference/tokens.ts'
import { checked, OTHERS, secrecy } from './files.ts'
import { type Finding, failed, ok, timed, warn } from './finding.ts'

/** What belongs to an inference server alone: who may ask, and its models. */

export function checkTokens(config: InferenceConfig): Finding[] {
  const { tokensFile, tokens, anonymous, rest, grpc } = config
  if (tokensFile !== undefined) {
    const what = `tokens ${tokensFile}`
    const readable = checked(what, () => {
      Tokens.read(config)
      return ok(what, 'readable')
    })
    return [readable, ...secrecy(tokensFile, OTHERS)]
  }
  const asks = tokens.length > 0 || [rest, grpc].every((it) => !it || it.tls?.clientCaFile !== undefined)
  return anonymous && !asks
    ? [warn('tokens', 'none: whoever reaches it may use it', 'Name a file with "tokensFile".')]
    : []
}

/** Opens it as the server does, each in a thread of its own. */
export async function checkServedModel(config: InferenceConfig, model: ModelConfig): Promise<Finding> {
  const what = `model ${model.model}`
  try {
    const { value: thread, ms } = await timed(() =>
      openModelThread({
        ...model,
        catalog: config.catalog,
        // Made anew where it is not there yet: the folder is the server's to make.
        modelFolder: existsSync(config.modelFolder) ? config.modelFolder : undefined,
      }),
    )
    await using opened = thread
    const { description, inputs, batches } = opened.opened as ModelOpened
    const shapes = inputs.map(({ name, type, shape }) => `${name} ${type} ${shape.join('x')}`)
    return ok(
      what,
      `loads in ${ms} ms (${description}); ${shapes.join(', ')}; ${batches ? 'requests run together' : 'one request at a time'}`,
    )
  } catch (error) {
    return failed(what, error, 'Correct "models" in the configuration, or pull it: sightline models pull.')
  }
}
