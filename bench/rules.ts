import type { PublishedScenario } from '../console/context.ts'
import { detectionOfStored } from '../console/database/rows.ts'
import { RuleEngine } from '../console/rules/engine.ts'
import type { Fact } from '../console/rules/fact.ts'
import { ruleSchema } from '../console/rules/rule.ts'
import { scenarioSchema } from '../console/scenarios/document.ts'
import { makeStored } from '../test/kit/announcements.ts'
import { idMinter } from '../wire/id.ts'

/**
 * 1,000 rules on 500 cameras that see 500 faces a second, half of them as events and half as crops: what of a core that takes.
 * Spread, as sites are (a scenario for each camera, with two rules), and at worst (each rule on every camera); with
 * conditions, and with expressions. One fact in a hundred meets its rules. Pure computation: what notices cost to write is
 * not in it.
 */
const CAMERAS = 500
const RULES = 1000
const FACTS_A_SECOND = 500
const RULES_OF_SCENARIO = 50
const ROUNDS = 5
const START_MS = Date.UTC(2026, 10, 28, 12)

export interface RulesTiming {
  readonly name: string
  /** Rules that look at one fact. */
  readonly rulesOfFact: number
  readonly nsPerEvaluation: number
  readonly usPerFact: number
  /** Of a core, at that many facts a second. */
  readonly share: number
  readonly notices: number
}

const WAYS = {
  conditions: (n: number) => ({
    conditions: { zones: ['door'], scoreMin: 0.9 + (n % 10) / 1000, sizeMin: 20 },
  }),
  CEL: (n: number) => ({
    expression: `score >= ${0.9 + (n % 10) / 1000} && size >= 20 && zones.exists(z, z == "door")`,
  }),
}

/** @param seconds of facts for each round of a spread case; the worst ones take fewer */
export async function benchRules(seconds = 20): Promise<readonly RulesTiming[]> {
  const results: RulesTiming[] = []
  for (const [name, wayOf] of Object.entries(WAYS))
    for (const isWorst of [false, true]) {
      const facts = factsOf(Math.max(1, isWorst ? seconds / 10 : seconds) * FACTS_A_SECOND)
      const seen: { ms: number; notices: number }[] = []
      for (let round = 0; round < ROUNDS; round += 1) {
        const engine = new RuleEngine({ holds: () => false, cameras: () => [] })
        engine.setScenarios(isWorst ? everywhere(wayOf) : spread(wayOf))
        for (const fact of facts.slice(0, CAMERAS)) engine.run([fact], START_MS)
        let notices = 0
        // What other programs of this machine take is not counted.
        const before = process.cpuUsage()
        for (const [n, fact] of facts.entries())
          notices += engine.run([fact], START_MS + (n * 1000) / FACTS_A_SECOND).notices.length
        const { user, system } = process.cpuUsage(before)
        seen.push({ ms: (user + system) / 1000, notices })
      }
      const { ms, notices } = seen.sort((a, b) => a.ms - b.ms)[
        Math.floor(ROUNDS / 2)
      ] as (typeof seen)[number]
      // Half of the rules are on faces, half on tracks, which crops may give a picture to.
      const rulesOfFact = isWorst ? RULES / 2 : RULES / CAMERAS / 2
      const usPerFact = (ms * 1000) / facts.length
      results.push({
        name: `${name}, ${isWorst ? 'each rule on every camera' : '2 rules a camera'}`,
        rulesOfFact,
        nsPerEvaluation: (usPerFact * 1000) / rulesOfFact,
        usPerFact,
        share: (usPerFact * FACTS_A_SECOND) / 1_000_000,
        notices,
      })
    }
  return results
}

const ruleOf = (n: number, wayOf: (n: number) => object) =>
  ruleSchema.parse({
    id: `r${n}`,
    name: `Rule ${n}`,
    on: n % 2 === 0 ? 'face' : 'track',
    per: 'camera',
    cooldownMs: 1_500,
    notify: ['c'],
    ...wayOf(n),
  })

/** Two rules for each camera, in a scenario of its own. */
const spread = (wayOf: (n: number) => object): PublishedScenario[] =>
  Array.from({ length: CAMERAS }, (_, camera) =>
    published(`s${camera}`, [2 * camera, 2 * camera + 1], wayOf, (name) => name === `c${camera}`),
  )

const everywhere = (wayOf: (n: number) => object): PublishedScenario[] =>
  Array.from({ length: RULES / RULES_OF_SCENARIO }, (_, scenario) =>
    published(
      `s${scenario}`,
      Array.from({ length: RULES_OF_SCENARIO }, (_, rule) => scenario * RULES_OF_SCENARIO + rule),
      wayOf,
      () => true,
    ),
  )

function published(
  id: string,
  rules: readonly number[],
  wayOf: (n: number) => object,
  covers: (camera: string) => boolean,
): PublishedScenario {
  const scenario = scenarioSchema.parse({
    name: id,
    cameras: { all: true },
    rules: rules.map((n) => ruleOf(n, wayOf)),
  })
  return { id, revision: 1, scenario, isActive: () => true, covers: ({ camera }) => covers(camera) }
}

function factsOf(count: number): Fact[] {
  return Array.from({ length: count }, (_, n): Fact => {
    const atMs = START_MS + (n * 1000) / FACTS_A_SECOND
    const mint = idMinter(() => Math.floor(atMs))
    const at = { site: 'site', device: `d${n % 50}`, camera: `c${n % CAMERAS}` }
    const track = mint()
    const score = n % 100 === 0 ? 0.95 : 0.8
    const zones = ['door', 'till']
    if (n % 2 === 0) {
      const stored = makeStored({ id: mint(), ...at, capturedAtMs: Math.floor(atMs), track, score, zones })
      return { is: 'face', detection: detectionOfStored(stored, 'bench') }
    }
    const after = {
      id: track,
      ...at,
      startMs: atMs,
      seenMs: atMs,
      endMs: null,
      box: [10, 20, 30, 40] as [number, number, number, number],
      region: null,
      frame: [640, 360] as [number, number],
      score,
      topScore: score,
      active: true,
      stationary: false,
      crop: null,
      crops: 0,
      zones,
    }
    return { is: 'event', event: { v: 1, type: 'new', before: after, after } }
  })
}

export function printRules(results: readonly RulesTiming[]): void {
  process.stdout.write(
    `\nRules: ${RULES} on ${CAMERAS} cameras, ${FACTS_A_SECOND} faces a second (medians of ${ROUNDS})\n`,
  )
  for (const it of results)
    process.stdout.write(
      `  ${it.name.padEnd(38)} ${it.nsPerEvaluation.toFixed(0).padStart(6)} ns an evaluation  ${it.usPerFact.toFixed(1).padStart(7)} us a fact  ${(it.share * 100).toFixed(1).padStart(5)} % of a core  ${it.notices} notices\n`,
    )
}
