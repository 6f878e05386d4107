/** Works through a list, so many at a time. The first failure ends it, once what is under way has ended. */
export async function inTurns<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  atOnceMax: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>()
  let failed: { readonly error: unknown } | undefined
  for await (const item of items) {
    if (failed) break
    const run: Promise<void> = work(item)
      .catch((error: unknown) => {
        failed ??= { error }
      })
      .finally(() => running.delete(run))
    running.add(run)
    if (running.size >= atOnceMax) await Promise.race(running)
  }
  await Promise.all(running)
  if (failed) throw failed.error
}
