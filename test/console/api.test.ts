import t from 'tap'
import type { Detection, DetectionDetail, DetectionsPage } from '../../console/api/detections.ts'
import type { Problem } from '../../console/api/problem.ts'
import { apiServer, NORTH, SOUTH } from './api-server.ts'

t.test('what was seen comes newest first, page by page, and each once', async (t) => {
  const { json, store } = await apiServer(t)
  const stored = await store(
    ...Array.from({ length: 25 }, (_, n) => ({ capturedAtMs: 1_760_000_000_000 + n })),
  )
  const seen: string[] = []
  let path = '/detections?limit=10'
  for (let pages = 0; pages < 5; pages += 1) {
    const page: DetectionsPage = await json(path)
    seen.push(...page.items.map(({ id }) => id))
    if (page.next === null) break
    path = `/detections?limit=10&cursor=${page.next}`
  }
  t.same(seen, stored.map(({ id }) => id).toReversed())
})

t.test('a detection out of one’s scope is answered as one that there is not', async (t) => {
  const { get, json, store } = await apiServer(t)
  const [north, south] = await store({ ...NORTH }, { ...SOUTH })
  const theirs = (await (await get(`/detections/${south?.id}`, 'nora')).json()) as Problem
  const none = (await (
    await get('/detections/01980000-0000-7000-8000-000000000000', 'nora')
  ).json()) as Problem
  t.same(theirs, none)
  t.equal(theirs.status, 404)
  const own = await json<DetectionDetail>(`/detections/${north?.id}`, 'nora')
  t.equal(own.id, north?.id)
  const list = await json<DetectionsPage>('/detections', 'nora')
  t.same(
    list.items.map(({ id }: Detection) => id),
    [north?.id],
  )
})
