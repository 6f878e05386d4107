import { hostileConfig, judgeLoading } from '../test/kit/hostile-config.ts'
import { type Test, temporaryFolder } from '../test/kit/programs.ts'
import type { Trial } from './trial.ts'

/** The configuration's door: files and environment variables, against the schemas of all three programs. */

const FULL_INPUTS = 10_000
const SHORT_INPUTS = 1000
const FAULTS_MAX = 10

export const HOSTILE_CONFIG: Trial = {
  name: 'hostile-config',
  what: 'hostile configuration files and environment variables',
  async run({ short, random }) {
    await using stack = new AsyncDisposableStack()
    const own: Test = { after: (handler) => void stack.defer(handler) }
    const folder = temporaryFolder(own)
    const base = Math.floor(random() * 2 ** 31)
    const inputs = short ? SHORT_INPUTS : FULL_INPUTS
    const faults: string[] = []
    const kinds = new Map<string, number>()
    let msMax = 0
    for (let n = 0; n < inputs && faults.length < FAULTS_MAX; n += 1) {
      const config = hostileConfig(base + n)
      const { broken, kind, ms } = judgeLoading(config, folder)
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
      msMax = Math.max(msMax, ms)
      if (broken !== undefined)
        faults.push(
          `input ${n} (seed ${base + n}): ${broken}; ${JSON.stringify(config.env).slice(0, 300)}, ${config.yaml.length <= 300 ? config.yaml.toString('hex') : `a file of ${config.yaml.length} bytes`}`,
        )
    }
    return {
      faults,
      said: `${inputs} inputs, ${JSON.stringify(Object.fromEntries(kinds))}, the longest ${msMax.toFixed(0)} ms of CPU`,
    }
  },
}
