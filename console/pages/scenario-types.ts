import type { z } from 'zod'
import type { documentRevisionSchema, problemsSchema, scenarioAnswerSchema } from '../api/scenarios.ts'
import type { Scenario } from '../scenarios/document.ts'

/** Scenarios as the API answers with them. Types only. */

export type ScenarioDocument = Scenario
export type Rule = Scenario['rules'][number]
export type Zone = Scenario['zones'][number]
export type Selection = Scenario['cameras']
export type Schedule = NonNullable<Scenario['schedule']>
export type KeptScenario = z.infer<typeof scenarioAnswerSchema>
export type Revision = Omit<z.infer<typeof documentRevisionSchema>, 'changes'>
export type Trouble = z.infer<typeof problemsSchema>[number]
