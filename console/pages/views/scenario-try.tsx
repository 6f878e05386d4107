import { useState } from 'preact/hooks'
import { useLoaded } from '../loaded.ts'
import { Empty, Shown, Waiting } from '../parts/states.tsx'
import { When } from '../parts/when.tsx'
import { facePicture } from '../recordings.ts'
import type { Rule, ScenarioDocument } from '../scenario-types.ts'
import type { Tried } from '../scenarios.ts'
import * as scenarios from '../scenarios.ts'
import { count, dayAndClock, number } from '../words.ts'
import { ruleWords } from './rule-words.ts'

/** What its rules would have found in what is stored, as it is written now, saved or not. */

const HOURS = [1, 24, 24 * 7] as const
const WORDS: Readonly<Record<number, string>> = { 1: 'Last hour', 24: 'Last 24 hours', 168: 'Last 7 days' }

export function TryOut({ document }: { readonly document: ScenarioDocument }) {
  const [hours, setHours] = useState<number>(24)
  const tried = useLoaded(`try ${hours} ${JSON.stringify(document)}`, (signal) =>
    scenarios.tryOut(document, hours, signal),
  )
  return (
    <section aria-labelledby="try">
      <div class="section-head">
        <h2 id="try">What it would have noticed</h2>
        <fieldset class="switch">
          <legend class="visually-hidden">How far back</legend>
          {HOURS.map((it) => (
            <button key={it} type="button" aria-pressed={it === hours} onClick={() => setHours(it)}>
              {WORDS[it]}
            </button>
          ))}
        </fieldset>
      </div>
      {document.rules.length === 0 ? (
        <Empty title="No rules to try.">Add a rule under “Edit” first.</Empty>
      ) : (
        <Shown
          of={tried}
          waiting={
            <>
              <p class="muted">Looking through what is stored …</p>
              <Waiting rows={3} />
            </>
          }
        >
          {(it) => <Found document={document} tried={it} />}
        </Shown>
      )}
    </section>
  )
}

function Found({ document, tried }: { readonly document: ScenarioDocument; readonly tried: Tried }) {
  return (
    <>
      <p class="muted">
        {count(tried.looked, 'face or event', 'faces and events')} looked at, since{' '}
        {dayAndClock(tried.fromMs)}. Nobody was told anything.
      </p>
      <ul class="tried">
        {document.rules.map((rule) => {
          const found = tried.rules.find(({ id }) => id === rule.id)
          return (
            <li key={rule.id} class="tried-rule">
              <div class="tried-head">
                <div>
                  <h3>{rule.name}</h3>
                  <p class="muted">{ruleWords(rule)}</p>
                </div>
                <p class="tried-count">
                  {found?.untried === undefined || found.looked > 0 ? (
                    <>
                      <strong>{number(found?.count ?? 0)}</strong> {found?.count === 1 ? 'notice' : 'notices'}
                    </>
                  ) : (
                    'Cannot be tried'
                  )}
                </p>
              </div>
              {found?.untried === undefined ? null : <p class="muted">{found.untried}</p>}
              {!found || (found.untried !== undefined && found.looked === 0) ? null : found.examples
                  .length === 0 ? (
                <p class="muted">{nothingWords(rule, found)}</p>
              ) : (
                <ul class="tried-examples">
                  {found.examples.map((example, index) => (
                    <li key={index} class="tried-example">
                      {example.detection ? (
                        <a href={`/faces/${example.detection}`}>
                          <img
                            class="face-picture"
                            src={facePicture(example.detection)}
                            loading="lazy"
                            width="80"
                            height="100"
                            alt={`Face at ${example.camera}`}
                          />
                        </a>
                      ) : null}
                      <div>
                        <p>
                          <strong class="breaks">{example.camera.split('/').at(-1)}</strong>{' '}
                          <span class="muted">
                            <When atMs={example.atMs} />
                          </span>
                        </p>
                        <p class="muted breaks">{example.why}</p>
                      </div>
                    </li>
                  ))}
                </ul>
              )}
            </li>
          )
        })}
      </ul>
    </>
  )
}

const CONDITIONS: Readonly<Record<string, string>> = {
  zones: 'were in none of its zones',
  scoreMin: 'were not sure enough',
  qualityMin: 'were of lower quality',
  sizeMin: 'were smaller',
  masked: 'did not have what it says about a mask',
  attributes: 'did not have what it asks of a classifier',
  states: 'were in none of its states',
  expression: 'did not meet its expression',
  schedule: "came outside the scenario's hours",
  quiet: 'came in its quiet hours',
  cooldownMs: 'came too soon after another notice',
  holdMs: 'did not last long enough',
  moreThan: 'were too few at a time',
}

/** Of what was looked at, what stood in the way. */
function nothingWords(rule: Rule | undefined, { looked, excludedBy }: Tried['rules'][number]): string {
  if (looked === 0) return 'Nothing that it looks at was seen in this time, so there is nothing to go by.'
  const nothing = 'Nothing would have been noticed.'
  const [one, many] = wordsOf(rule)
  if (!excludedBy) return `${nothing} ${number(looked)} ${looked === 1 ? one : many} looked at.`
  const of =
    excludedBy.count >= looked
      ? looked === 1
        ? `The one ${one}`
        : `All ${number(looked)} ${many}`
      : `${number(excludedBy.count)} of ${number(looked)} ${many}`
  return `${nothing} ${of} ${CONDITIONS[excludedBy.condition] ?? 'did not meet a condition'}.`
}

const wordsOf = (rule: Rule | undefined): readonly [string, string] =>
  rule?.on === 'camera'
    ? ['camera', 'cameras']
    : rule?.on === 'device'
      ? ['device', 'devices']
      : ['face', 'faces']
