import { mintedAtMs } from '../../wire/id.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { CameraSeen, DeviceSeen, KeeperSeen, PublishedScenario } from '../context.ts'
import type { Detection } from '../database/detection.ts'
import { ruleProblems } from './conditions.ts'
import { Covering, coversDevice, looksAtEvents } from './covering.ts'
import { Due } from './due.ts'
import type { Values } from './expression.ts'
import type { Fact } from './fact.ts'
import { countNotice, type Hours, heldBack, Suspended, type Suspension } from './held-back.ts'
import { Journal, type Outcome, type StateChange } from './journal.ts'
import {
  type Looked,
  lookAtCamera,
  lookAtClip,
  lookAtDevice,
  lookAtEvent,
  lookAtFace,
  lookAtKeeper,
} from './looked.ts'
import {
  type Compiled,
  compile,
  countedOf,
  countIn,
  forgetUncovered,
  type Memory,
  memberKey,
  nameOf,
  type Occurrence,
  type Said,
  setBack,
} from './memory.ts'
import { better, ended, newlySaid, noticeOf } from './said.ts'
import { duration } from './sentences.ts'
import { type Subject, subjectOf } from './subject.ts'

/**
 * Facts to notices. A rule speaks when what it asks for becomes so, once for each key: a face that is followed, a photo, an
 * object; or, for what lasts (presence, counts, cameras, devices, programs), from when it begins to when it ends. In between come
 * hold, schedule, suspension, quiet hours and cooldown. What lasts and was held back by one of these is told once that is
 * over, where it is still so; a face that was held back stays so.
 *
 * Pure: the clock is handed in, and nothing is written. Facts go through a draft, which is committed when what it says is on
 * disk, or rolled back as if it had never been.
 */

/** A face or an event that happened longer ago, as it arrives, makes no notice: after an outage nobody is told of yesterday. */
export const LATE_MS = 3_600_000

/** A face is remembered for so long after the last that was heard of it, and so many of one rule. */
const OCCURRENCE_MS_MAX = 3_600_000
const OCCURRENCES_OF_RULE_MAX = 5_000
/** Cameras, devices, programs for which one rule holds. */
const LASTING_OF_RULE_MAX = 20_000
const COOLDOWNS_OF_RULE_MAX = 20_000
/** How often is looked whether what holds a notice back is over, where it does not say until when. */
const HELD_BACK_LOOK_MS = 10_000
/** A clock that goes back by less is only kept right. */
const CLOCK_BACK_MS_MIN = 1_000

export interface EngineOptions extends Hours {
  /** Those that there are: whether a scenario has a camera of a device. */
  readonly cameras: () => readonly CameraAddress[]
}

interface DueItem {
  readonly compiled: Compiled
  readonly is: 'occurrence' | 'lasting' | 'window'
  readonly key: string
}

export interface Draft {
  take(fact: Fact, nowMs: number): void
  /** What has become due by then. */
  look(nowMs: number): void
  /** What came of it so far, to be written. */
  readonly outcome: Outcome
  /** It is on disk. */
  commit(): void
  /** It is not: nothing of it ever was. */
  rollback(): void
}

export class RuleEngine {
  readonly #options: EngineOptions
  #compiled: readonly Compiled[] = []
  #current = new Set<Compiled>()
  #wantsEvents = false
  readonly #covering = new Covering()
  #suspended = new Suspended([])
  #due = new Due<DueItem>()
  readonly #journal = new Journal()
  /** The clock at the last fact. */
  #nowMs = Number.NEGATIVE_INFINITY

  constructor(options: EngineOptions) {
    this.#options = options
  }

  /** When something becomes due next, unless a fact comes before; undefined: nothing does. */
  get nextDueMs(): number | undefined {
    return this.#due.nextMs
  }

  /** Whether one of them looks at events of faces. */
  get wantsEvents(): boolean {
    return this.#wantsEvents
  }

  get rules(): number {
    return this.#compiled.length
  }

  /** The longest time over which one of them counts, ms; 0: none counts. */
  get windowMsMax(): number {
    return Math.max(
      0,
      ...this.#compiled.map(({ rule }) => (rule.on === 'count' ? (rule.conditions.windowMs ?? 0) : 0)),
    )
  }

  /**
   * What holds from now on. A rule that asks for the same as before goes on; of others all is forgotten.
   * @returns those that were there and are forgotten
   */
  setScenarios(
    published: readonly PublishedScenario[],
  ): readonly { readonly scenario: string; readonly rule: string }[] {
    const known = new Map(this.#compiled.map((it) => [nameOf(it), it]))
    const compiled = published.flatMap((scenario) =>
      scenario.scenario.rules
        .filter((rule) => rule.enabled && ruleProblems(rule).length === 0)
        .map((rule): Compiled => compile(scenario, rule, known.get(`${scenario.id}/${rule.id}`))),
    )
    this.#compiled = compiled
    this.#wantsEvents = compiled.some(looksAtEvents)
    this.#current = new Set(compiled)
    this.#covering.set(compiled)
    for (const it of compiled) forgetUncovered(it)
    this.#rearm()
    const kept = new Set(compiled.map(({ memory }) => memory))
    return [...known.values()]
      .filter(({ memory }) => !kept.has(memory))
      .map(({ published: { id }, rule }) => ({ scenario: id, rule: rule.id }))
  }

  /** What is to be looked at at its time, anew from what is remembered. */
  #rearm(): void {
    this.#due = new Due()
    for (const it of this.#compiled) {
      for (const [key, { pending }] of it.memory.occurrences)
        if (pending) this.#due.add(pending.dueMs, { compiled: it, is: 'occurrence', key })
      for (const [key, { dueMs }] of it.memory.lasting)
        if (dueMs !== undefined) this.#due.add(dueMs, { compiled: it, is: 'lasting', key })
      it.memory.aging.clear()
      for (const key of it.memory.windows.keys()) this.#age(it, key)
    }
  }

  /**
   * A clock that was set back takes with it what was timed by it: what was to be held for ten seconds is not held for an hour
   * more, and a cooldown is not longer than it says. One that is set forward ends both early.
   */
  #keepTime(nowMs: number): void {
    const backMs = this.#nowMs - nowMs
    this.#nowMs = nowMs
    if (backMs < CLOCK_BACK_MS_MIN) return
    for (const { memory } of this.#compiled) setBack(memory, backMs)
    this.#rearm()
  }

  setSuspensions(suspensions: readonly Suspension[]): void {
    this.#suspended = new Suspended(suspensions)
  }

  /** What was kept of them before a restart; after setScenarios. */
  load(states: readonly StateChange[], nowMs: number): void {
    const rules = new Map(this.#compiled.map((it) => [nameOf(it), it]))
    for (const { scenario, rule, key, row } of states) {
      const compiled = rules.get(`${scenario}/${rule}`)
      if (!compiled || !row) continue
      const { memory } = compiled
      const name = key.slice(2)
      if (key.startsWith('c:') && row.noticedAtMs !== null)
        // By a clock that may have been set back since.
        memory.noticedAtMs.set(name, Math.min(row.noticedAtMs, nowMs))
      else if (key.startsWith('o:') && row.said)
        memory.occurrences.set(name, { touchedMs: Math.min(row.noticedAtMs ?? nowMs, nowMs), said: row.said })
      else if (key.startsWith('l:') && row.said)
        memory.lasting.set(name, {
          sinceMs: Math.min(row.sinceMs ?? nowMs, nowMs),
          dueMs: undefined,
          heldBack: undefined,
          said: row.said,
          subject: undefined,
        })
    }
  }

  /** A face from before a restart: counted, and nothing else. Oldest first. */
  recall(detection: Detection, nowMs: number): void {
    const looked = lookAtFace(detection)
    for (const compiled of this.#covering.rulesOf('face', detection))
      if (compiled.rule.on === 'count' && this.#passes(compiled, looked, looked.values, detection.atMs))
        countIn(
          compiled.memory,
          memberKey(compiled.rule, looked.path),
          detection.track ?? detection.id,
          Math.min(detection.atMs, nowMs),
        )
  }

  /** One at a time. */
  draft(): Draft {
    return {
      take: (fact, nowMs) => this.#take(fact, nowMs),
      look: (nowMs) => this.#look(nowMs),
      outcome: this.#journal.begin(),
      commit: () => this.#journal.commit(),
      rollback: () => this.#journal.rollback(),
    }
  }

  /** A draft of these facts, committed: for who writes nothing. */
  run(facts: readonly Fact[], nowMs: number): Outcome {
    const draft = this.draft()
    draft.look(nowMs)
    for (const fact of facts) draft.take(fact, nowMs)
    draft.commit()
    return draft.outcome
  }

  #take(fact: Fact, nowMs: number): void {
    this.#keepTime(nowMs)
    switch (fact.is) {
      case 'face':
        this.#takeFace(fact.detection, nowMs)
        break
      case 'event': {
        const { event } = fact
        const looked = lookAtEvent(event)
        // Nothing has happened yet that is still to come, whatever a device's clock says.
        const atMs = Math.min(event.after.seenMs, nowMs)
        const subject = subjectOf(event.after, atMs, looked, { track: event.after.id })
        for (const compiled of this.#covering.rulesOf('event', event.after))
          this.#takeEvent(compiled, subject, nowMs)
        break
      }
      case 'camera':
        this.#takeCamera(fact.camera, nowMs)
        break
      case 'device':
        this.#takeDevice(fact.device, nowMs)
        break
      case 'keeper':
        this.#takeKeeper(fact.keeper, nowMs)
        break
      case 'clip': {
        const looked = lookAtClip(fact.clip)
        for (const compiled of this.#covering.rulesOf('clip', fact.clip))
          this.#arrival(
            compiled,
            fact.clip.id,
            subjectOf(fact.clip, Math.min(fact.clip.capturedAtMs, nowMs), looked, { clip: fact.clip }),
            nowMs,
          )
      }
    }
  }

  #takeFace(detection: Detection, nowMs: number): void {
    const looked = lookAtFace(detection)
    const { track } = detection
    // A clock that was not set says nothing of when it was; and one that is ahead, that it was not later than now.
    const atMs = detection.clockSane ? detection.capturedAtMs : detection.atMs
    const subject = subjectOf(detection, Math.min(atMs, nowMs), looked, { track, detection })
    const isLate = nowMs - detection.atMs > LATE_MS
    for (const compiled of this.#covering.rulesOf('face', detection))
      switch (compiled.rule.on) {
        case 'face':
          this.#picture(compiled, subject, isLate, nowMs)
          break
        case 'arrival':
          this.#arrival(compiled, detection.id, subject, nowMs)
          break
        case 'count':
          if (!this.#passes(compiled, looked, looked.values, nowMs)) break
          if (isLate) this.#tooLate(compiled, subject, nowMs)
          else {
            const key = memberKey(compiled.rule, looked.path)
            const atMs = Math.min(detection.atMs, nowMs)
            this.#journal.undo(countIn(compiled.memory, key, track ?? detection.id, atMs))
            this.#judgeCount(compiled, key, subject, nowMs)
          }
          break
        default: {
          const occurrence = track === undefined ? undefined : compiled.memory.occurrences.get(track)
          if (track !== undefined && occurrence?.said && !isLate)
            this.#improve(compiled, track, occurrence.said, subject, nowMs)
        }
      }
  }

  #picture(compiled: Compiled, subject: Subject, isLate: boolean, nowMs: number): void {
    const { detection, looked, track } = subject
    if (!detection) return
    const key = track ?? detection.id
    const occurrence = compiled.memory.occurrences.get(key)
    if (occurrence) {
      // A best picture takes the place of the first, whatever it shows.
      if (
        occurrence.said &&
        !isLate &&
        (detection.shot === 'best' || this.#passes(compiled, looked, looked.values, nowMs))
      )
        this.#improve(compiled, key, occurrence.said, subject, nowMs)
      return
    }
    if (!this.#passes(compiled, looked, looked.values, nowMs)) return
    if (isLate) this.#tooLate(compiled, subject, nowMs)
    else this.#occurred(compiled, key, subject, nowMs)
  }

  #arrival(compiled: Compiled, id: string, subject: Subject, nowMs: number): void {
    if (compiled.memory.occurrences.has(id)) return
    if (this.#passes(compiled, subject.looked, subject.looked.values, nowMs))
      this.#occurred(compiled, id, subject, nowMs)
  }

  #takeEvent(compiled: Compiled, subject: Subject, nowMs: number): void {
    const { rule, memory } = compiled
    const { looked } = subject
    const key = subject.track ?? ''
    const { event, zone } = looked
    const isOfZone = event === 'enter' || event === 'leave' || event === 'stay'
    const occurrence = memory.occurrences.get(key)
    if (occurrence) {
      const { pending } = occurrence
      if (pending && this.#isBroken(compiled, pending, looked)) this.#journal.delete(memory.occurrences, key)
      else this.#remember(memory, key, { ...occurrence, touchedMs: nowMs })
      return
    }
    if (isOfZone !== (rule.on === 'zone') || !this.#passes(compiled, looked, looked.values, nowMs)) return
    if (nowMs - subject.atMs > LATE_MS) this.#tooLate(compiled, subject, nowMs)
    else if (rule.holdMs === 0) this.#occurred(compiled, key, subject, nowMs)
    else {
      const dueMs = nowMs + rule.holdMs
      this.#remember(memory, key, { touchedMs: nowMs, pending: { dueMs, subject, zone } })
      this.#due.add(dueMs, { compiled, is: 'occurrence', key })
      this.#holding(compiled, subject, dueMs, nowMs)
    }
  }

  /** Whether what was held has come to its end before its time. */
  #isBroken(
    { rule, still }: Compiled,
    { subject, zone }: NonNullable<Occurrence['pending']>,
    now: Looked,
  ): boolean {
    const began = subject.looked.event
    if (now.event === 'end') return began !== 'end' && began !== 'leave'
    if (rule.on === 'track') return !still(now)
    if (now.zone !== zone) return false
    return (now.event === 'leave') !== (began === 'leave')
  }

  #takeCamera(camera: CameraSeen, nowMs: number): void {
    const looked = lookAtCamera(camera)
    const subject = subjectOf(camera, nowMs, looked, {})
    const isAway = camera.is === 'offline'
    for (const compiled of this.#covering.rulesOf('camera', camera)) {
      const { rule } = compiled
      if (rule.on === 'presence') this.#presence(compiled, camera, subject, nowMs)
      else {
        const ofDevice = rule.conditions.states?.includes('offline') ?? false
        // A device that goes takes all its cameras with it: that is said once, of the device.
        if (ofDevice) {
          const { site, device } = camera
          const place = `${site}/${device}`
          this.#member(
            compiled,
            place,
            isAway && this.#passes(compiled, looked, looked.values, nowMs),
            { ...subject, camera: undefined, site, device, place },
            nowMs,
          )
        }
        // Of a camera that cannot be asked nothing has begun, and nothing has ended.
        if (isAway) this.#breakHold(compiled, memberKey(rule, looked.path))
        else
          this.#member(
            compiled,
            looked.path,
            this.#passes(compiled, looked, looked.values, nowMs),
            subject,
            nowMs,
          )
      }
    }
  }

  #presence(compiled: Compiled, camera: CameraSeen, subject: Subject, nowMs: number): void {
    const { rule, memory, expression } = compiled
    const { zones, moreThan, fewerThan } = rule.conditions
    const { members } = memory
    const present = camera.is === 'live' ? camera.state?.present : undefined
    let count: number | undefined
    if (present)
      if (!zones) count = present.faces
      else {
        const named = zones.filter((zone) => Object.hasOwn(present.zones, zone))
        if (named.length > 0) count = named.reduce((all, zone) => all + (present.zones[zone] ?? 0), 0)
      }
    if (rule.per === 'scenario') {
      if (count === undefined) members.delete(subject.looked.path)
      else members.set(subject.looked.path, count)
      count = members.size === 0 ? undefined : [...members.values()].reduce((all, one) => all + one, 0)
    }
    const known = count
    const is =
      known !== undefined &&
      (moreThan === undefined || known > moreThan) &&
      (fewerThan === undefined || known < fewerThan) &&
      (expression === undefined ||
        this.#says(compiled, () => ({ ...subject.looked.values(), count: BigInt(known) }), nowMs))
    this.#judge(compiled, memberKey(rule, subject.looked.path), is, { ...subject, count: known }, nowMs)
  }

  #takeDevice(seen: DeviceSeen, nowMs: number): void {
    const { site, device, isOnline } = seen
    const looked = lookAtDevice(seen)
    const subject: Subject = {
      atMs: nowMs,
      camera: undefined,
      site,
      device,
      place: looked.path,
      looked,
    }
    for (const compiled of this.#compiled) {
      if (!isOnline) this.#breakFaces(compiled, looked.path)
      if (
        compiled.rule.on === 'device' &&
        coversDevice(compiled.published, site, device, this.#options.cameras)
      )
        this.#member(
          compiled,
          looked.path,
          this.#passes(compiled, looked, looked.values, nowMs),
          subject,
          nowMs,
        )
    }
  }

  #takeKeeper(seen: KeeperSeen, nowMs: number): void {
    const looked = lookAtKeeper(seen)
    const { program, name } = seen.report
    const [site, device] = program === 'device' ? name.split('/') : []
    const subject: Subject = {
      atMs: nowMs,
      camera: undefined,
      site,
      device,
      place: `${program} ${name}`,
      looked,
    }
    for (const compiled of this.#compiled) {
      if (compiled.rule.on !== 'keeper') continue
      // A program that is no device's belongs to all of it.
      const isCovered =
        site !== undefined && device !== undefined
          ? coversDevice(compiled.published, site, device, this.#options.cameras)
          : compiled.published.scenario.cameras.all === true
      if (isCovered)
        this.#member(
          compiled,
          looked.path,
          this.#passes(compiled, looked, looked.values, nowMs),
          subject,
          nowMs,
        )
    }
  }

  /** It is so, or not, of one camera, device or program. */
  #member(compiled: Compiled, path: string, is: boolean, subject: Subject, nowMs: number): void {
    const { rule, memory } = compiled
    if (rule.per !== 'scenario') {
      this.#judge(compiled, path, is, subject, nowMs)
      return
    }
    if (is) memory.members.set(path, 1)
    else memory.members.delete(path)
    this.#judge(compiled, '', memory.members.size > 0, subject, nowMs)
  }

  #judgeCount(compiled: Compiled, key: string, subject: Subject | undefined, nowMs: number): void {
    const { rule, memory } = compiled
    const count = countedOf(compiled, key, nowMs)
    const about = subject ?? memory.lasting.get(key)?.subject
    const is = count > (rule.conditions.moreThan ?? 0)
    if (about) this.#judge(compiled, key, is, { ...about, count }, nowMs)
    else if (!is && memory.lasting.has(key)) this.#end(compiled, key, undefined, nowMs)
    if (is) this.#age(compiled, key)
  }

  /** Looks at it again when its oldest is too old. */
  #age(compiled: Compiled, key: string): void {
    const { rule, memory } = compiled
    const [oldestMs] = memory.windows.get(key)?.values() ?? []
    if (oldestMs === undefined || memory.aging.has(key)) return
    memory.aging.add(key)
    this.#due.add(oldestMs + (rule.conditions.windowMs ?? 0) + 1, { compiled, is: 'window', key })
  }

  /** Of what lasts: whether it is so now. */
  #judge(compiled: Compiled, key: string, is: boolean, subject: Subject, nowMs: number): void {
    const { rule, memory } = compiled
    const lasting = memory.lasting.get(key)
    if (!is) {
      if (lasting) this.#end(compiled, key, subject, nowMs)
      return
    }
    if (lasting?.said) return
    if (lasting) {
      this.#journal.set(memory.lasting, key, { ...lasting, subject })
      return
    }
    if (memory.lasting.size >= LASTING_OF_RULE_MAX) {
      this.#journal.decide(compiled, subject, 'too many', nowMs, 'The rule holds for too many at once.')
      return
    }
    const dueMs = nowMs + rule.holdMs
    this.#journal.set(memory.lasting, key, {
      sinceMs: nowMs,
      dueMs,
      heldBack: undefined,
      said: undefined,
      subject,
    })
    if (rule.holdMs === 0) this.#begun(compiled, key, nowMs)
    else {
      this.#due.add(dueMs, { compiled, is: 'lasting', key })
      this.#holding(compiled, subject, dueMs, nowMs)
    }
  }

  /** It has been so for long enough: said, or held back for now. */
  #begun(compiled: Compiled, key: string, nowMs: number): void {
    const { memory } = compiled
    const lasting = memory.lasting.get(key)
    if (!lasting?.subject || lasting.said) return
    const { subject, sinceMs } = lasting
    const held = this.#heldBack(compiled, key, { ...subject, atMs: nowMs }, nowMs)
    if (held) {
      const dueMs = Math.max(nowMs + 1, held.untilMs ?? nowMs + HELD_BACK_LOOK_MS)
      if (lasting.heldBack !== held.what)
        this.#journal.decide(compiled, subject, held.what, nowMs, held.text, held.untilMs)
      this.#journal.set(memory.lasting, key, { ...lasting, dueMs, heldBack: held.what })
      this.#due.add(dueMs, { compiled, is: 'lasting', key })
      return
    }
    const said = this.#say(compiled, `${key}@${sinceMs}`, sinceMs, key, subject, nowMs)
    this.#journal.set(memory.lasting, key, { ...lasting, dueMs: undefined, heldBack: undefined, said })
    this.#journal.keep(compiled, `l:${key}`, { noticedAtMs: nowMs, sinceMs, said })
  }

  #end(compiled: Compiled, key: string, subject: Subject | undefined, nowMs: number): void {
    const { rule, memory } = compiled
    const lasting = memory.lasting.get(key)
    this.#journal.delete(memory.lasting, key)
    if (!lasting?.said) return
    this.#journal.keep(compiled, `l:${key}`, undefined)
    if (rule.on === 'count') return
    this.#journal.notice(noticeOf(compiled, ended(compiled, lasting.said, subject, nowMs - lasting.sinceMs)))
    if (subject)
      this.#journal.decide(compiled, subject, 'updated', nowMs, 'The notice was told that it has ended.')
  }

  /** Of a camera whose device is away: what was not said yet has to begin anew. */
  #breakHold({ memory }: Compiled, key: string): void {
    const lasting = memory.lasting.get(key)
    if (lasting && !lasting.said) this.#journal.delete(memory.lasting, key)
  }

  /** Nobody knows any more whether they are there. */
  #breakFaces({ rule, memory }: Compiled, devicePath: string): void {
    if (rule.holdMs === 0 || (rule.on !== 'track' && rule.on !== 'zone')) return
    for (const [key, { pending }] of memory.occurrences)
      if (pending?.subject.looked.path.startsWith(`${devicePath}/`))
        this.#journal.delete(memory.occurrences, key)
  }

  /** A face, a photo, an object for which it has become so. */
  #occurred(compiled: Compiled, key: string, subject: Subject, nowMs: number): void {
    const { rule, memory } = compiled
    const cooldownKey = rule.per === 'track' ? key : rule.per === 'camera' ? subject.looked.path : ''
    const held = this.#heldBack(compiled, cooldownKey, subject, nowMs)
    if (held) {
      this.#journal.decide(compiled, subject, held.what, nowMs, held.text, held.untilMs)
      // It became so at a time at which nobody wanted to hear of it: it does not become so once more.
      this.#remember(memory, key, { touchedMs: nowMs })
      return
    }
    const said = this.#say(compiled, key, mintedAtMs(key), cooldownKey, subject, nowMs)
    // Objects do not get better.
    this.#remember(memory, key, rule.on === 'arrival' ? { touchedMs: nowMs } : { touchedMs: nowMs, said })
    if (rule.on !== 'arrival')
      this.#journal.keep(compiled, `o:${key}`, { noticedAtMs: nowMs, sinceMs: null, said })
  }

  /** A better picture of what a notice has told of. */
  #improve(compiled: Compiled, key: string, said: Said, { detection }: Subject, nowMs: number): void {
    const improved = detection && better(said, detection)
    if (!improved) return
    this.#remember(compiled.memory, key, { touchedMs: nowMs, said: improved })
    this.#journal.keep(compiled, `o:${key}`, { noticedAtMs: nowMs, sinceMs: null, said: improved })
    this.#journal.notice(noticeOf(compiled, improved))
    const { camera } = said
    const { track } = detection
    this.#journal.decide(compiled, { camera, track }, 'updated', nowMs, 'A better picture of the same face.')
  }

  #look(nowMs: number): void {
    this.#keepTime(nowMs)
    for (let item = this.#due.take(nowMs); item; item = this.#due.take(nowMs)) {
      const { compiled, is, key } = item
      if (!this.#current.has(compiled)) continue
      const taken = item
      this.#journal.undo(() => this.#due.add(nowMs, taken))
      const { memory, rule } = compiled
      if (is === 'occurrence') {
        const pending = memory.occurrences.get(key)?.pending
        if (pending && pending.dueMs <= nowMs) this.#occurred(compiled, key, pending.subject, nowMs)
        continue
      }
      if (is === 'window') memory.aging.delete(key)
      if (rule.on === 'count') this.#judgeCount(compiled, key, undefined, nowMs)
      const lasting = memory.lasting.get(key)
      if (lasting?.dueMs !== undefined && lasting.dueMs <= nowMs) this.#begun(compiled, key, nowMs)
    }
  }

  #heldBack(compiled: Compiled, cooldownKey: string, subject: Subject, nowMs: number) {
    return heldBack(compiled, cooldownKey, subject, nowMs, { ...this.#options, suspended: this.#suspended })
  }

  #say(
    compiled: Compiled,
    occurrence: string,
    edgeMs: number,
    cooldownKey: string,
    subject: Subject,
    nowMs: number,
  ): Said {
    const { rule, memory } = compiled
    const said = newlySaid(compiled, occurrence, edgeMs, subject)
    this.#journal.notice(noticeOf(compiled, said))
    this.#journal.decide(
      compiled,
      subject,
      rule.notify.length === 0 ? 'no channel' : 'sent',
      nowMs,
      rule.notify.length === 0
        ? 'The rule names no channel: the notice is in the list alone.'
        : said.notice.title,
    )
    if (rule.cooldownMs > 0) {
      this.#noticed(memory, cooldownKey, nowMs, rule.cooldownMs)
      this.#journal.keep(compiled, `c:${cooldownKey}`, { noticedAtMs: nowMs, sinceMs: null, said: null })
    }
    countNotice(memory, nowMs)
    return said
  }

  #noticed({ noticedAtMs }: Memory, key: string, nowMs: number, cooldownMs: number): void {
    this.#journal.delete(noticedAtMs, key)
    this.#journal.set(noticedAtMs, key, nowMs)
    for (const [oldest, atMs] of noticedAtMs) {
      if (atMs + cooldownMs > nowMs && noticedAtMs.size <= COOLDOWNS_OF_RULE_MAX) break
      noticedAtMs.delete(oldest)
    }
  }

  #remember({ occurrences }: Memory, key: string, occurrence: Occurrence): void {
    this.#journal.delete(occurrences, key)
    this.#journal.set(occurrences, key, occurrence)
    for (const [oldest, { touchedMs, pending }] of occurrences) {
      const isOver = touchedMs < occurrence.touchedMs - OCCURRENCE_MS_MAX && !pending
      if (!isOver && occurrences.size <= OCCURRENCES_OF_RULE_MAX) break
      occurrences.delete(oldest)
    }
  }

  #passes(compiled: Compiled, looked: Looked, values: () => Values, nowMs: number): boolean {
    return compiled.test(looked) && (compiled.expression === undefined || this.#says(compiled, values, nowMs))
  }

  /** What the expression says; where it cannot, that it is not so, which is told once. */
  #says(compiled: Compiled, values: () => Values, nowMs: number): boolean {
    try {
      return compiled.expression?.(values()) ?? true
    } catch (error) {
      if (!compiled.memory.hasFailed) {
        compiled.memory.hasFailed = true
        this.#journal.undo(() => {
          compiled.memory.hasFailed = false
        })
        const why = error instanceof Error ? error.message : String(error)
        this.#journal.decide(
          compiled,
          { camera: undefined, track: undefined },
          'rule error',
          nowMs,
          `The expression could not be evaluated, which counts as false: ${why}`.slice(0, 2000),
        )
      }
      return false
    }
  }

  #holding(compiled: Compiled, subject: Subject, untilMs: number, nowMs: number): void {
    this.#journal.decide(compiled, subject, 'holding', nowMs, 'It has to be so for a while first.', untilMs)
  }

  #tooLate(compiled: Compiled, subject: Subject, nowMs: number): void {
    this.#journal.decide(
      compiled,
      subject,
      'too late',
      nowMs,
      `It happened more than ${duration(LATE_MS)} before it arrived.`,
    )
  }
}
