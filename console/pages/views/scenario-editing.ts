import { useEffect, useRef, useState } from 'preact/hooks'
import { Problem } from '../api.ts'
import type { KeptScenario, ScenarioDocument, Trouble } from '../scenario-types.ts'
import type { Checked } from '../scenarios.ts'
import * as scenarios from '../scenarios.ts'

/** A document while it is changed: what is kept of it, what is not yet, and what the console says of it. */

const CHECK_AFTER_MS = 400

export interface Editing {
  readonly kept: KeptScenario | undefined
  readonly document: ScenarioDocument
  readonly isChanged: boolean
  readonly checked: Checked | undefined
  /** The console could not say. */
  readonly checkError: unknown
  set(change: Partial<ScenarioDocument>): void
  /** @returns what is kept now. Errors: Problem (REVISION_CHANGED) */
  save(revision?: number): Promise<KeptScenario>
  /** Theirs, in place of what is written here. */
  take(kept: KeptScenario): void
}

export function useEditing(begun: ScenarioDocument, first: KeptScenario | undefined): Editing {
  const [kept, setKept] = useState(first)
  const [document, setDocument] = useState(begun)
  const [checked, setChecked] = useState<Checked | undefined>(undefined)
  const [checkError, setCheckError] = useState<unknown>(undefined)
  const text = ordered(document)
  const isFirst = useRef(true)
  const last = useRef<{ selection: string; cameras: readonly string[] } | undefined>(undefined)
  const id = kept?.id
  useEffect(() => {
    const gone = new AbortController()
    const timer = setTimeout(
      () => {
        isFirst.current = false
        scenarios.check(named(document), id, gone.signal).then(
          ({ problems, cameras }) => {
            const selection = ordered(document.cameras)
            // What has not the form of a scenario covers nothing; its cameras have not changed by that.
            const isUnknown =
              cameras.length === 0 &&
              last.current?.selection === selection &&
              problems.some(({ kind, path }) => kind === 'error' && path[0] !== 'cameras')
            const covered = isUnknown ? (last.current?.cameras ?? []) : cameras
            last.current = { selection, cameras: covered }
            const nameless: Trouble = { path: ['name'], message: 'It needs a name.', kind: 'error' }
            setChecked({
              problems: document.name.trim() === '' ? [nameless, ...problems] : problems,
              cameras: covered,
            })
            setCheckError(undefined)
          },
          (error: unknown) => {
            if (!gone.signal.aborted) setCheckError(error)
          },
        )
      },
      isFirst.current ? 0 : CHECK_AFTER_MS,
    )
    return () => {
      clearTimeout(timer)
      gone.abort()
    }
  }, [text, id])
  return {
    kept,
    document,
    checked,
    checkError,
    isChanged: kept === undefined || text !== ordered(kept.document),
    set: (change) => setDocument((old) => ({ ...old, ...change })),
    async save(revision) {
      const now = kept
        ? await scenarios.change(kept.id, revision ?? kept.revision, document)
        : await scenarios.make(document)
      setKept(now)
      // What was typed meanwhile stays.
      setDocument((old) => (old === document ? now.document : old))
      return now
    },
    take(theirs) {
      setKept(theirs)
      setDocument(theirs.document)
    },
  }
}

/** A new one has no name yet, and covers cameras all the same. */
const named = (document: ScenarioDocument): ScenarioDocument =>
  document.name.trim() === '' ? { ...document, name: 'New scenario' } : document

/** The same for the same content, whatever the order of its keys. */
export function ordered(value: unknown): string {
  return JSON.stringify(value, (_, it: unknown) =>
    it !== null && typeof it === 'object' && !Array.isArray(it)
      ? Object.fromEntries(Object.entries(it).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : it,
  )
}

export const sentence = (error: unknown) =>
  error instanceof Problem
    ? error.detail || error.title
    : error instanceof Error
      ? error.message
      : String(error)
