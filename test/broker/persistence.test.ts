import assert from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import abstract from 'aedes-persistence/abstract.js'
import t from 'tap'
import { Persistence } from '../../broker/persistence.ts'
import { Sessions } from '../../broker/sessions.ts'
import { Store } from '../../store/store.ts'

const BOUNDS = {
  entriesMax: 1000,
  bytesMax: 1e6,
  ageMsMax: Number.POSITIVE_INFINITY,
  whenFull: 'reject',
} as const

async function openPersistence() {
  const folder = mkdtempSync(join(tmpdir(), 'sightline-persistence-'))
  const store = await Store.open({ folder })
  const persistence = new Persistence({
    store,
    sessions: Sessions.open({ store, declared: [], bounds: BOUNDS, inFlightMax: 64 }),
    custody: false,
    retained: { entriesMax: 1000, bytesMax: 1e6 },
    senderOf: (topic) => topic,
    userOf: () => undefined,
  })
  const destroy = persistence.destroy.bind(persistence)
  persistence.destroy = async () => {
    await destroy()
    await store[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  }
  return persistence
}

// The suite is written for node:test; these are the parts of its context that it uses.
function asNodeTest(name: string, body: (context: unknown) => Promise<void>): void {
  t.test(`aedes-persistence/abstract: ${name}`, async (tap) => {
    let planned: number | undefined
    let asserted = 0
    const counting = new Proxy(assert, {
      get:
        (target, key) =>
        (...args: unknown[]) => {
          asserted += 1
          Reflect.apply(Reflect.get(target, key), target, args)
          tap.pass(String(args.at(-1)))
        },
    })
    await body({
      plan: (count: number) => {
        planned = count
      },
      assert: counting,
      diagnostic: () => {},
    })
    if (planned !== undefined) tap.equal(asserted, planned, 'as many assertions as planned')
    else tap.pass('no error')
  })
}

abstract({ test: asNodeTest, testAsync: true, persistence: openPersistence })
