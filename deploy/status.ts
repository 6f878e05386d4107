import { failure } from '../lib/errors.ts'
import { ago, table } from '../lib/table.ts'
import { nameOf } from './apply.ts'
import type { Engine } from './engine.ts'
import { healthOf } from './health.ts'
import { DEPLOYMENT, HELPER, KIND, LOOK, ROLE } from './names.ts'

/** What runs where, asked of each container itself. Errors: DEPLOYMENT_NOT_FOUND */
export async function showStatus(
  engine: Engine,
  deployment: string | undefined,
): Promise<{ text: string; ok: boolean }> {
  const { docker } = engine
  const label = deployment === undefined ? DEPLOYMENT : `${DEPLOYMENT}=${deployment}`
  const containers = (
    await engine.do('listing containers', () =>
      docker.listContainers({ all: true, filters: { label: [label] } }),
    )
  ).filter(({ Labels }) => Labels[ROLE] !== HELPER)
  if (containers.length === 0)
    throw failure(
      'DEPLOYMENT_NOT_FOUND',
      deployment === undefined
        ? `Nothing is deployed on ${engine.machine.description}. Start with: sightline deploy demo`
        : `Deployment "${deployment}" not found on ${engine.machine.description}.`,
    )
  containers.sort((a, b) => (nameOf(a.Names) < nameOf(b.Names) ? -1 : 1))
  const rows = await Promise.all(
    containers.map(async (it) => {
      const { ok, said } = await healthOf(engine, docker.getContainer(it.Id))
      return {
        ok,
        cells: [
          nameOf(it.Names),
          String(it.Labels[KIND]),
          it.Image,
          ok ? ago(Date.now() - it.Created * 1000) : 'UNHEALTHY',
          ok ? 'healthy' : said,
        ],
      }
    }),
  )
  const looks = containers.flatMap(({ Labels }) => (Labels[LOOK] === undefined ? [] : [Labels[LOOK]]))
  return {
    ok: rows.every(({ ok }) => ok),
    text: `${table([['container', 'kind', 'image', 'since', 'health'], ...rows.map(({ cells }) => cells)])}${looks.map((look) => `${look}\n`).join('')}`,
  }
}
