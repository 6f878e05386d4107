import { z } from 'zod'
import type { Resource } from '../../console/api/server.ts'
import { type Scenario, type ScenarioState, scenarioSchema } from '../../console/scenarios/document.ts'
import { failure } from '../../lib/errors.ts'

/** Scenarios, in memory, by the API's routes: what the pages send is read by the schemas that keep it. */

export interface Held {
  id: string
  name: string
  state: ScenarioState
  revision: number
  changedAtMs: number
  changedBy: string
  document: Scenario
}

interface Past {
  revision: number
  atMs: number
  by: string
  what: string
  state: ScenarioState
  document: Scenario
}

export class HeldScenarios {
  readonly kept = new Map<string, Held>()
  readonly past = new Map<string, Past[]>()
  readonly suspensions: { scenario: string; rule: null; camera: null; untilMs: number; by: string }[] = []
  notices: { id: string; atMs: number }[] = []
  tried: unknown = { rules: [], looked: 0, fromMs: Date.now() - 86_400_000 }
  by = 'ada'
  #made = 0

  put(document: z.input<typeof scenarioSchema>, state: ScenarioState = 'draft'): Held {
    this.#made += 1
    return this.keep(`scenario-${this.#made}`, scenarioSchema.parse(document), state, 'create')
  }

  keep(id: string, document: Scenario, state: ScenarioState, what: string): Held {
    const revision = (this.kept.get(id)?.revision ?? 0) + 1
    const atMs = Date.now()
    const held = { id, name: document.name, state, revision, changedAtMs: atMs, changedBy: this.by, document }
    this.kept.set(id, held)
    this.past.set(id, [...(this.past.get(id) ?? []), { revision, atMs, by: this.by, what, state, document }])
    return held
  }

  find(id: string): Held {
    const held = this.kept.get(id)
    if (!held) throw failure('NOT_FOUND', 'There is no such scenario.')
    return held
  }

  check(body: unknown, cameras: readonly string[]) {
    const { document } = z.looseObject({ document: z.unknown() }).parse(body)
    const read = scenarioSchema.safeParse(document)
    if (!read.success)
      return {
        cameras: [],
        problems: read.error.issues.map(({ path, message }) => ({
          path: path.map((step) => (typeof step === 'symbol' ? '' : step)),
          message,
          kind: 'error',
        })),
      }
    const { all, sites = [], devices = [], cameras: named = [] } = read.data.cameras
    const covered = cameras.filter((path) => {
      const [site = '', device = ''] = path.split('/')
      return all || sites.includes(site) || devices.includes(`${site}/${device}`) || named.includes(path)
    })
    const zones = new Set(read.data.zones.map(({ name }) => name))
    const problems = read.data.rules.flatMap(({ conditions }, index) =>
      (conditions.zones ?? [])
        .filter((zone) => !zones.has(zone))
        .map((zone) => ({
          path: ['rules', index, 'conditions', 'zones'],
          message: `No zone of the scenario is named ${zone}.`,
          kind: 'error',
        })),
    )
    return { cameras: covered, problems }
  }

  readonly routes: Resource = (api, { fleet }) => {
    const config = { right: 'scenarios' } as const
    const paths = () => fleet.cameras.map(({ site, device, camera }) => `${site}/${device}/${camera}`)
    const id = (params: unknown) => z.looseObject({ id: z.string() }).parse(params).id
    api.get('/scenarios', { config }, () => ({ items: [...this.kept.values()] }))
    api.get('/scenarios/provided', { config }, () => ({
      items: [
        {
          id: 'visitors',
          name: 'Visitors at a door',
          description: 'Tells when somebody comes into the zone in front of a door.',
          document: scenarioSchema.parse({
            name: 'Visitors at a door',
            cameras: { all: true },
            settings: { emit: { first: true } },
            rules: [{ id: 'visitor', name: 'A visitor', on: 'zone', conditions: { zoneEvents: ['enter'] } }],
          }),
        },
      ],
    }))
    api.post('/scenarios', { config }, ({ body }) =>
      this.put(z.looseObject({ document: scenarioSchema }).parse(body).document),
    )
    api.post('/scenarios/check', { config }, ({ body }) => this.check(body, paths()))
    api.post('/scenarios/try', { config }, ({ body }) => {
      z.strictObject({ document: scenarioSchema, hours: z.number().min(1).max(168) }).parse(body)
      return this.tried
    })
    api.get('/scenarios/:id', { config }, ({ params }) => this.find(id(params)))
    api.put('/scenarios/:id', { config }, ({ params, body }) => {
      const held = this.find(id(params))
      const { revision, document } = z
        .strictObject({ revision: z.number(), document: scenarioSchema })
        .parse(body)
      if (revision !== held.revision)
        throw failure('REVISION_CHANGED', 'Somebody else has changed it meanwhile.')
      return this.keep(held.id, document, held.state, 'change')
    })
    api.delete('/scenarios/:id', { config }, ({ params }, reply) => {
      this.kept.delete(this.find(id(params)).id)
      return reply.code(204).send()
    })
    for (const [what, state] of [
      ['publish', 'published'],
      ['pause', 'paused'],
    ] as const)
      api.post(`/scenarios/:id/${what}`, { config }, ({ params }) => {
        const held = this.find(id(params))
        return this.keep(held.id, held.document, state, what)
      })
    api.post('/scenarios/:id/copy', { config }, ({ params }) => {
      const { document } = this.find(id(params))
      return this.put({ ...document, name: `${document.name} (copy)` })
    })
    api.post('/scenarios/:id/rollback', { config }, ({ params, body }) => {
      const held = this.find(id(params))
      const { revision } = z.strictObject({ revision: z.number() }).parse(body)
      const past = this.past.get(held.id)?.find((it) => it.revision === revision)
      if (!past) throw failure('NOT_FOUND', 'There is no such revision.')
      return this.keep(held.id, past.document, held.state, `roll back to ${revision}`)
    })
    api.get('/scenarios/:id/revisions', { config }, ({ params }) => ({
      items: this.past.get(id(params)) ?? [],
    }))
    api.get('/scenarios/:id/revisions/:n', { config }, ({ params }) => {
      const { n } = z.looseObject({ n: z.coerce.number() }).parse(params)
      return this.past.get(id(params))?.find(({ revision }) => revision === n)
    })
    api.get('/rules/variables', { config }, () => ({
      items: ['face', 'count'].map((on) => ({
        on,
        variables: [
          { name: 'score', type: 'double', text: 'How sure the detector is that it is a face, 0 to 1.' },
          { name: 'zones', type: 'list<string>', text: 'The zones that the face is in.' },
        ],
      })),
    }))
    api.post('/rules/check', { config }, ({ body }) => {
      const { expression } = z.strictObject({ expression: z.string(), on: z.string() }).parse(body)
      const start = expression.indexOf('scor ')
      return start < 0
        ? { ok: true, problem: null }
        : { ok: false, problem: { message: 'There is no variable "scor".', start, end: start + 4 } }
    })
    api.get('/suspensions', { config }, () => ({ items: this.suspensions }))
    api.post('/suspensions', { config }, ({ body }) => {
      const { scenario, forS } = z.strictObject({ scenario: z.string(), forS: z.number().int() }).parse(body)
      const untilMs = Date.now() + forS * 1000
      this.suspensions.push({ scenario, rule: null, camera: null, untilMs, by: this.by })
      return {}
    })
    api.delete('/suspensions/:scenario/-/-/-/-', { config }, (_request, reply) => {
      this.suspensions.splice(0)
      return reply.code(204).send()
    })
    api.get('/notices', { config }, () => ({ items: this.notices, next: null }))
    api.get('/channels', { config }, () => ({
      items: [
        { id: 'phone', name: 'Phones of the family' },
        { id: 'mail', name: 'Mail to the porter' },
      ],
    }))
    api.get('/devices/:site/:device/desired', { config }, () => ({
      reported: {
        effective: {
          detect: { model: 'blazeface', scoreMin: 'auto', sizeMin: 0 },
          cameras: Object.fromEntries(
            fleet.cameras.map(({ camera }) => [
              camera,
              { scoreMin: 0.5, emit: { mode: 'best', first: false }, record: { mode: 'off' } },
            ]),
          ),
        },
        models: ['blazeface', 'yunet'],
      },
    }))
  }
}
