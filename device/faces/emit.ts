import { isDeepStrictEqual } from 'node:util'
import type { CameraState } from '../../wire/camera-state.ts'
import { CROP_VERSION, type CropMetadata, fileNameOf } from '../../wire/crop.ts'
import { EVENT_VERSION, type FaceEvent, type FollowedFace } from '../../wire/event.ts'
import { cropTopic, eventTopic } from '../../wire/topics.ts'
import type { Zone } from '../../wire/zones.ts'
import type { DeviceConfig } from '../config.ts'
import type { Detection, Detector } from '../detect/detector.ts'
import type { Frame } from '../frame.ts'
import {
  BEST_SHOTS_BYTES_MAX,
  CLOCK_YEAR_MIN,
  CROPS_LOOKED_AT_MAX,
  EVENT_UPDATE_MS_MIN,
  PRESENT_HIDDEN_MS_MAX,
} from '../limits.ts'
import type { Publisher } from '../link/publish.ts'
import { PLAIN_SEAL, type Seal } from '../link/seal.ts'
import type { Meters } from '../meters.ts'
import type { Processing } from '../process/processing.ts'
import type { Effects } from '../view/effects.ts'
import type { SeenFace, Watcher } from '../view/watcher.ts'
import { type Quality, qualityOf, sharpnessOf } from './best-shot.ts'
import {
  type Box,
  cropRegion,
  encodeJpeg,
  type Point,
  pointToFrame,
  RateLimit,
  type Region,
  toFrame,
} from './crop.ts'
import { FirstShot } from './first-shot.ts'
import { type Track, Tracker } from './track.ts'
import { ElapsedTime, type ZoneNews, ZoneVisits, zonesOf } from './zones.ts'

export interface EmitterParts {
  readonly config: DeviceConfig
  readonly camera: string
  readonly detector: Pick<Detector, 'model' | 'scoreMin'>
  readonly publisher: Pick<Publisher, 'offer' | 'room' | 'say'>
  readonly meters: Meters
  readonly mint: () => string
  /** Those of the camera; none where absent. */
  readonly zones?: readonly Zone[]
  /** `PLAIN_SEAL` where absent. */
  readonly seal?: Seal
  /** The source waits for the pipeline: then nothing is crowded out at the publisher either. */
  readonly lossless: boolean
  /** Pixels of best shots held at the moment, bytes, all cameras together. */
  readonly held: { bytes: number }
  /** Looks at each face that is published. */
  readonly processing?: Pick<Processing, 'attributes' | 'looksAt'>
  /** Who looks at frames beside this. */
  readonly watchers?: readonly Watcher[]
  /** Told where faces are, before those who look. */
  readonly effects?: Pick<Effects, 'looked' | 'still' | 'unlooked'>
  /** Called for each crop that is handed to the publisher. */
  readonly onCrop?: (crop: CropMetadata) => void
  /** Called when the faces that are here have changed; undefined: nobody looks any more. */
  readonly onPresent?: (camera: string, present: Present | undefined) => void
}

/** Faces that are in the picture now: all, and by zone. */
export type Present = NonNullable<CameraState['present']>

/** Why a sure face became no crop. `faces_detected = crops_made + faces_passed_over{reason}` once nothing is held. */
type Reason =
  /** Nothing of it lies inside the frame. */
  | 'outside'
  /** Below `detect.sizeMin`. */
  | 'small'
  /** `emit.rateMax`. */
  | 'rate'
  /** Too few frames had it. */
  | 'unconfirmed'
  /** There is a better one of the same face. */
  | 'not best'
  /** There was a crop of the same face a short while ago. */
  | 'not due'
  /** More faces at a time than can be followed. */
  | 'untracked'
  /** No room for more best shots that wait. */
  | 'memory'

type Mode = DeviceConfig['emit']['mode'] | 'photo' | 'first'

/** A face in full-frame pixels. */
interface Face {
  readonly box: Box
  readonly score: number
  readonly landmarks: readonly Point[]
  readonly masked?: boolean
  /** Who found it, where that is another than the detector. */
  readonly model: string | undefined
  readonly region: Region | undefined
}

/** A face that may become a crop: everything but the JPEG. */
interface Shot {
  readonly metadata: CropMetadata
  readonly region: Region
  readonly rgb: Uint8Array | Promise<Uint8Array>
}

interface BestShot extends Shot {
  readonly rgb: Uint8Array
  readonly quality: Quality
}

/** What is known of a track beside what the tracker knows. */
interface Followed {
  readonly track: Track
  readonly startMs: number
  seenMs: number
  frame: readonly [number, number]
  best: BestShot | undefined
  readonly first: FirstShot
  /** When its last crop beside the first went out. By the frames' clock; undefined before that. */
  emittedAtMs: number | undefined
  crop: string | null
  crops: number
  /** What its last event said, or how it was first seen. */
  said: FollowedFace | undefined
  announced: boolean
  saidAtMs: number
  readonly visits: ZoneVisits
}

interface Making {
  readonly mode: Mode
  readonly shot: Shot
  readonly of?: Followed
}

/** What is published of it, before attributes. */
interface Chosen extends Pick<Making, 'mode' | 'shot'> {
  readonly metadata: CropMetadata
}

/**
 * From faces to crops and events, for one camera from the opening of its source to its end: follows faces, decides
 * which of them become crops (`emit.mode`), cuts, encodes and publishes those.
 *
 * `best` holds, of each track, the pixels of the best shot so far, and encodes them once it is chosen. With `first` a
 * track's first good picture goes out within half a second, and after that only a better one.
 *
 * A track's crop names the zones of its own frame, and those in which the face has been since the crop before (a `first`
 * aside, whose place another takes): the best picture may be one from beside the door that it came through.
 */
export class Emitter {
  readonly #parts: EmitterParts
  readonly #tracker: Tracker
  readonly #limit: RateLimit
  readonly #topic: string
  readonly #eventTopic: string
  readonly #followed = new Map<Track, Followed>()
  readonly #zones: readonly Zone[]
  readonly #elapsed = new ElapsedTime()
  #atMs = 0
  #intervalMs = 0
  #present: Present | undefined
  /** First shots that are due although no frame comes. */
  #timer: NodeJS.Timeout | undefined
  #late: Promise<void> = Promise.resolve()
  /** Crops that are encoded and looked at; how many. */
  #offered: Promise<void> = Promise.resolve()
  #offering = 0

  constructor(parts: EmitterParts) {
    this.#parts = parts
    const { config, camera, detector, mint } = parts
    const { rateMax, trackLostMax } = config.emit
    this.#tracker = new Tracker({ scoreMin: detector.scoreMin, lostMsMax: trackLostMax, mint })
    this.#limit = new RateLimit(rateMax === 'unlimited' ? Infinity : rateMax)
    this.#topic = cropTopic(config.topicPrefix, { ...config, camera })
    this.#eventTopic = eventTopic(config.topicPrefix, { ...config, camera })
    this.#zones = parts.zones ?? []
  }

  /** A frame's faces, best first; doubtful ones may be among them. The frame is disposed of. */
  async see(frame: Frame, detections: readonly Detection[], signal: AbortSignal): Promise<void> {
    using _frame = frame
    await this.#alone(() => this.#see(frame, detections, signal), signal)
  }

  async #see(frame: Frame, detections: readonly Detection[], signal: AbortSignal): Promise<void> {
    const { camera, meters, detector } = this.#parts
    const faces = detections.map((detection) => this.#face(frame, detection))
    const sure = faces.filter(({ score }) => score >= detector.scoreMin)
    meters.facesDetected.inc({ camera }, sure.length)
    const following = frame.atMs === undefined ? undefined : this.#tracker.follow(faces, frame.atMs, frame)
    const seen = this.#seen(faces, following?.tracks)
    this.#parts.effects?.looked(camera, frame, seen, following ? this.#tracker.tracks : [])
    await this.#show(frame, seen, true)
    if (frame.atMs === undefined || !following) {
      const making: Making[] = []
      for (const face of sure)
        if (this.#fits(face)) making.push({ mode: 'photo', shot: this.#shot(frame, face) })
      return await this.#publish(making, signal)
    }
    const { tracks, ended } = following
    const previousMs = this.#atMs
    this.#atMs = frame.atMs
    this.#intervalMs = Math.max(0, frame.atMs - previousMs)
    this.#elapsed.advance(frame.atMs)
    const making = ended.flatMap((track) => this.#ended(track, previousMs))
    for (const [index, face] of faces.entries()) {
      const track = tracks[index]
      const followed = track && this.#note(track, frame)
      if (face.score >= detector.scoreMin) making.push(...(await this.#consider(frame, face, followed)))
    }
    making.push(...this.#firsts(), ...this.#due())
    await this.#publish(making, signal)
    this.#tell(ended)
    this.#count()
  }

  /** A frame that nobody looked at because nothing in it had changed. The frame is disposed of. */
  async still(frame: Frame, signal: AbortSignal): Promise<void> {
    using _frame = frame
    await this.#alone(() => this.#still(frame, signal), signal)
  }

  async #still(frame: Frame, signal: AbortSignal): Promise<void> {
    this.#parts.effects?.still(this.#parts.camera)
    await this.#show(frame, [], false)
    if (frame.atMs === undefined) return
    this.#tracker.still(frame.atMs)
    this.#atMs = Math.max(this.#atMs, frame.atMs)
    this.#elapsed.advance(frame.atMs)
    for (const { track, frame: size, visits } of this.#followed.values())
      if (track.misses === 0) visits.look(track.box, size, this.#elapsed.ms)
    await this.#publish([...this.#firsts(), ...this.#due()], signal)
    this.#tell([])
    this.#count()
  }

  /** A frame at which nobody could look: whoever was here is here as far as is known. The frame is disposed of. */
  async unlooked(frame: Frame, signal: AbortSignal): Promise<void> {
    using _frame = frame
    await this.#alone(async () => {
      this.#parts.effects?.unlooked(this.#parts.camera, frame)
      await this.#show(frame, undefined, false)
      if (frame.atMs !== undefined) this.#tracker.unlooked(frame.atMs)
    }, signal)
  }

  /** No more frames: all tracks end, and their best shots go out. */
  async end(signal: AbortSignal): Promise<void> {
    await this.#alone(() => this.#end(signal), signal)
  }

  async #end(signal: AbortSignal): Promise<void> {
    const ended = this.#tracker.end()
    await this.#publish(
      ended.flatMap((track) => this.#ended(track, this.#atMs)),
      signal,
    )
    await this.#offered
    this.#tell(ended)
    this.#present = undefined
    this.#parts.onPresent?.(this.#parts.camera, undefined)
  }

  /** After a first shot that the timer has sent, and before the next one. What failed there fails here. */
  async #alone(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    clearTimeout(this.#timer)
    await this.#late
    await work()
    this.#arm(signal)
  }

  /** To those who look, while the frame is there. */
  async #show(frame: Frame, faces: readonly SeenFace[] | undefined, isLooked: boolean): Promise<void> {
    const { camera, watchers = [] } = this.#parts
    for (const watcher of watchers)
      if ((isLooked || !watcher.looksOnly) && watcher.wants(camera)) await watcher.see(camera, frame, faces)
  }

  #seen(faces: readonly Face[], tracks?: readonly (Track | undefined)[]): SeenFace[] {
    const { scoreMin } = this.#parts.detector
    return faces.map(({ box, score }, index) => {
      const track = tracks?.[index]
      return { box, score, sure: score >= scoreMin, track: track?.confirmed ? track.id : undefined }
    })
  }

  #face(frame: Frame, { box, score, landmarks, masked, model }: Detection): Face {
    const inFrame = toFrame(box, frame.scaled, frame)
    return {
      box: inFrame,
      score: Math.min(1, Math.max(0, score)),
      landmarks: landmarks.map((point) => pointToFrame(point, frame.scaled, frame)),
      masked,
      model,
      region: cropRegion(inFrame, this.#parts.config.crop.margin, frame),
    }
  }

  #fits({ box, region }: Face): boolean {
    const small = Math.min(box[2], box[3]) < this.#parts.config.detect.sizeMin
    if (region && !small) return true
    this.#passOver(region ? 'small' : 'outside')
    return false
  }

  #note(track: Track, frame: Frame): Followed {
    let followed = this.#followed.get(track)
    if (!followed) {
      followed = {
        track,
        startMs: frame.capturedAtMs,
        seenMs: frame.capturedAtMs,
        frame: [frame.width, frame.height],
        best: undefined,
        first: new FirstShot(),
        emittedAtMs: undefined,
        crop: null,
        crops: 0,
        said: undefined,
        announced: false,
        saidAtMs: this.#atMs,
        visits: new ZoneVisits(this.#zones),
      }
      this.#followed.set(track, followed)
      followed.said = this.#state(followed, false)
    }
    followed.seenMs = frame.capturedAtMs
    followed.frame = [frame.width, frame.height]
    followed.visits.look(track.box, followed.frame, this.#elapsed.ms)
    if (track.confirmed) followed.first.sure(this.#atMs, performance.now())
    return followed
  }

  /** What becomes of a sure face at once: a crop, or nothing yet, or nothing at all. */
  async #consider(frame: Frame, face: Face, followed: Followed | undefined): Promise<readonly Making[]> {
    const { mode, interval } = this.#parts.config.emit
    if (!this.#fits(face)) return []
    if (mode === 'every') {
      if (!this.#limit.take(this.#atMs)) return this.#passOver('rate')
      return [{ mode, shot: this.#shot(frame, face, followed), of: followed }]
    }
    if (!followed) return this.#passOver('untracked')
    if (mode === 'best') {
      await this.#keepBest(frame, face, followed)
      return []
    }
    if (!followed.track.confirmed) return this.#passOver('unconfirmed')
    if (followed.emittedAtMs !== undefined && this.#atMs - followed.emittedAtMs < interval)
      return this.#passOver('not due')
    if (!this.#limit.take(this.#atMs)) return this.#passOver('rate')
    followed.emittedAtMs = this.#atMs
    return [{ mode, shot: this.#shot(frame, face, followed), of: followed }]
  }

  async #keepBest(frame: Frame, face: Face, followed: Followed): Promise<void> {
    const region = face.region as Region
    // After its first crop beside the first shot it is compared with that no longer.
    const sentTotal = followed.emittedAtMs === undefined ? followed.first.total : -1
    const better = ({ total }: Quality) => total > (followed.best?.quality.total ?? sentTotal)
    // Sharpness needs the pixels, which are not cut where even the sharpest would not do.
    if (!better(qualityOf(face, frame))) return void this.#passOver('not best')
    const rgb = await frame.cut(region.left, region.top, region.width, region.height)
    const quality = qualityOf(face, frame, sharpnessOf(rgb, region, face.box))
    if (!better(quality)) return void this.#passOver('not best')
    if (followed.best) {
      this.#letGo(followed)
      this.#passOver('not best')
    }
    const { held } = this.#parts
    // The second half is for faces of which nothing has gone out yet.
    const bytesMax = isUnseen(followed) ? BEST_SHOTS_BYTES_MAX : BEST_SHOTS_BYTES_MAX / 2
    if (held.bytes + rgb.length > bytesMax) return void this.#passOver('memory')
    held.bytes += rgb.length
    followed.best = { metadata: this.#metadata(frame, face, region, followed, quality), region, rgb, quality }
  }

  #letGo(followed: Followed): BestShot | undefined {
    const { best } = followed
    if (best) this.#parts.held.bytes -= best.rgb.length
    followed.best = undefined
    return best
  }

  /** First shots that are good enough, or have waited for long enough. */
  #firsts(): Making[] {
    const { config, lossless } = this.#parts
    if (!isFirstWanted(config)) return []
    const nowMs = lossless ? undefined : performance.now()
    const making: Making[] = []
    for (const followed of this.#followed.values()) {
      const { best, first, emittedAtMs } = followed
      if (!best || emittedAtMs !== undefined) continue
      if (!first.isDue(best.quality, this.#atMs, this.#intervalMs, nowMs)) continue
      // It waits for the next frame, or goes out as the best at its end.
      if (!this.#limit.take(this.#atMs)) continue
      first.sent(best.quality)
      making.push({ mode: 'first', shot: this.#letGo(followed) as BestShot, of: followed })
    }
    return making
  }

  /** Where frames may stop coming, a first shot waits no longer for that. */
  #arm(signal: AbortSignal): void {
    const { config, lossless } = this.#parts
    if (lossless || !isFirstWanted(config)) return
    const nowMs = performance.now()
    const lateMs = [...this.#followed.values()]
      .filter((it) => it.best && isUnseen(it))
      .map(({ first }) => (first.lateAtNowMs ?? 0) - nowMs)
      .filter((ms) => ms > 0)
    if (lateMs.length === 0) return
    this.#timer = setTimeout(
      () => {
        // A timer may be early by a little.
        this.#late = this.#publish(this.#firsts(), signal).then(() => this.#arm(signal))
        this.#late.catch(() => {}) // whoever brings the next frame is told
      },
      Math.ceil(Math.min(...lateMs)),
    ).unref()
  }

  /** Best shots of faces that have been here for long; of all faces, once each, where memory runs short. */
  #due(): Making[] {
    const { bestAfter } = this.#parts.config.emit
    const short = this.#parts.held.bytes > BEST_SHOTS_BYTES_MAX / 2
    const making: Making[] = []
    for (const followed of this.#followed.values()) {
      const { track, emittedAtMs, first } = followed
      const forMs = this.#atMs - (emittedAtMs ?? track.startAtMs)
      // None was better than the first: from now on it is compared with that no longer.
      if (!followed.best && first.isSent && emittedAtMs === undefined && forMs >= bestAfter)
        followed.emittedAtMs = this.#atMs
      if (!track.confirmed || !followed.best) continue
      if (forMs < bestAfter && !(short && isUnseen(followed))) continue
      making.push({ mode: 'best', shot: this.#letGo(followed) as BestShot, of: followed })
      followed.emittedAtMs = this.#atMs
    }
    return making
  }

  /** The best shot of a track that has ended, where one is due. */
  #ended(track: Track, atMs: number): Making[] {
    const followed = this.#followed.get(track)
    const shot = followed && this.#letGo(followed)
    if (!shot) return []
    const { bestAfter } = this.#parts.config.emit
    const { emittedAtMs } = followed
    if (!track.confirmed) return this.#passOver('unconfirmed')
    if (emittedAtMs !== undefined && atMs - emittedAtMs < bestAfter) return this.#passOver('not due')
    return [{ mode: 'best', shot, of: followed }]
  }

  /**
   * All are encoded and looked at at the same time, and sealed and offered in their order: each names the one before. Second looks
   * take time: where there are any, the next frames are looked at meanwhile.
   */
  async #publish(making: readonly Making[], signal: AbortSignal): Promise<void> {
    if (making.length === 0) return
    const { camera, config, processing } = this.#parts
    // The frame that they are cut from is let go of after this.
    await Promise.allSettled(making.map(({ shot }) => shot.rgb))
    const crops = making.map(({ mode, shot, of }): Chosen => {
      const metadata = {
        ...shot.metadata,
        ...(isFirstWanted(config) && (mode === 'first' || mode === 'best') && { shot: mode }),
        ...(of && shot.metadata.zones && { zones: of.visits.visitedAnd(shot.metadata.zones) }),
      }
      if (of) {
        of.crop = metadata.id
        of.crops += 1
        if (mode !== 'first') of.visits.forgetVisited()
      }
      return { mode, shot, metadata }
    })
    this.#offered = this.#offer(crops, this.#offered, signal)
    this.#offered.catch(() => {}) // whoever awaits it next is told
    if (!processing?.looksAt(camera) || this.#offering > CROPS_LOOKED_AT_MAX) await this.#offered
  }

  /** @param before those that go out first */
  async #offer(crops: readonly Chosen[], before: Promise<void>, signal: AbortSignal): Promise<void> {
    const { camera, config, lossless, meters, processing, publisher, seal = PLAIN_SEAL } = this.#parts
    this.#offering += crops.length
    try {
      const looks = crops.map(async ({ shot: { rgb, region }, metadata }) => {
        const pixels = await rgb
        const { width, height } = region
        return await Promise.all([
          encodeJpeg(pixels, region, config.crop),
          processing?.attributes({ camera, rgb: pixels, width, height, metadata }) ?? [],
        ])
      })
      await Promise.allSettled(looks)
      await before
      for (const [index, look] of looks.entries()) {
        const { mode, metadata } = crops[index] as Chosen
        const [jpeg, attributes] = await look
        if (lossless) await publisher.room(signal)
        const said = attributes.length > 0 ? { ...metadata, attributes: [...attributes] } : metadata
        const payload = seal.crop(jpeg, said)
        meters.cropsMade.inc({ camera, mode })
        this.#parts.onCrop?.(said)
        publisher.offer({ camera, topic: this.#topic, payload })
      }
    } finally {
      this.#offering -= crops.length
    }
  }

  /** Says how many faces are here, where that has changed. */
  #count(): void {
    const { camera, onPresent } = this.#parts
    const zones = Object.fromEntries(this.#zones.map(({ name }) => [name, 0]))
    let faces = 0
    for (const { track, visits } of this.#followed.values()) {
      if (!track.confirmed) continue
      if (track.misses > 0 && this.#atMs - track.seenAtMs > PRESENT_HIDDEN_MS_MAX) continue
      faces += 1
      for (const name of visits.inside) zones[name] = (zones[name] ?? 0) + 1
    }
    const present = { faces, zones }
    if (isDeepStrictEqual(present, this.#present)) return
    this.#present = present
    onPresent?.(camera, present)
  }

  /** Events of all tracks, those that have ended last; forgets the latter. */
  #tell(ended: readonly Track[]): void {
    const { camera, meters } = this.#parts
    const gone = new Set(ended)
    for (const followed of this.#followed.values()) {
      if (followed.track.confirmed && !gone.has(followed.track)) this.#tellOf(followed)
    }
    for (const track of ended) {
      const followed = this.#followed.get(track)
      this.#followed.delete(track)
      if (!followed || !track.confirmed) continue
      meters.tracksEnded.inc({ camera })
      if (!followed.announced) this.#say('new', followed, this.#state(followed, false))
      followed.visits.end()
      this.#tellZones(followed)
      this.#say('end', followed, this.#state(followed, true))
    }
  }

  #tellOf(followed: Followed): void {
    if (!followed.announced) this.#say('new', followed, this.#state(followed, false))
    this.#tellZones(followed)
    const { said, saidAtMs } = followed
    if (this.#atMs - saidAtMs < EVENT_UPDATE_MS_MIN) return
    const after = this.#state(followed, false)
    if (!said || tells(said, after)) this.#say('update', followed, after)
  }

  #tellZones(followed: Followed): void {
    for (const news of followed.visits.takeNews())
      this.#say(news.type, followed, this.#state(followed, false), news)
  }

  #say(type: FaceEvent['type'], followed: Followed, after: FollowedFace, news?: ZoneNews): void {
    const { camera, config, meters, publisher } = this.#parts
    if (type === 'new') meters.tracksStarted.inc({ camera })
    const event: FaceEvent = {
      v: EVENT_VERSION,
      type,
      ...(news && { zone: news.zone, inZoneMs: news.inZoneMs }),
      before: followed.said ?? after,
      after,
    }
    followed.said = after
    followed.announced = true
    followed.saidAtMs = this.#atMs
    if (config.events.enabled)
      publisher.say({
        camera,
        topic: this.#eventTopic,
        payload: JSON.stringify(event),
        qos: config.events.qos,
      })
  }

  #state({ track, startMs, seenMs, frame, crop, crops, visits }: Followed, over: boolean): FollowedFace {
    const { config, camera } = this.#parts
    const [width, height] = frame
    const region = cropRegion(track.box, config.crop.margin, { width, height })
    return {
      id: track.id,
      site: config.site,
      device: config.device,
      camera,
      startMs,
      seenMs,
      endMs: over ? seenMs : null,
      box: tenths(track.box),
      region: region ? [region.left, region.top, region.width, region.height] : null,
      frame: [width, height],
      score: track.score,
      topScore: track.topScore,
      active: !over && track.misses === 0,
      stationary: track.stationary,
      crop,
      crops,
      ...(this.#zones.length > 0 && { zones: visits.inside }),
    }
  }

  /** Pixels are on their way once it returns: the frame may be disposed of when they have come. */
  #shot(frame: Frame, face: Face, followed?: Followed): Shot {
    const region = face.region as Region
    return {
      metadata: this.#metadata(frame, face, region, followed),
      region,
      rgb: frame.cut(region.left, region.top, region.width, region.height),
    }
  }

  #metadata(frame: Frame, face: Face, region: Region, followed?: Followed, quality?: Quality): CropMetadata {
    const { config, camera, detector, mint } = this.#parts
    const file = frame.file === undefined ? undefined : fileNameOf(frame.file)
    return {
      v: CROP_VERSION,
      id: mint(),
      site: config.site,
      device: config.device,
      camera,
      capturedAtMs: frame.capturedAtMs,
      clockSane: new Date(frame.capturedAtMs).getUTCFullYear() >= CLOCK_YEAR_MIN,
      box: tenths(face.box),
      region: [region.left, region.top, region.width, region.height],
      score: face.score,
      landmarks: face.landmarks.map(([x, y]) => [tenth(x), tenth(y)]),
      ...(face.masked !== undefined && { masked: face.masked }),
      ...(followed && { track: followed.track.id }),
      ...(this.#zones.length > 0 && { zones: zonesOf(this.#zones, face.box, [frame.width, frame.height]) }),
      ...(quality && {
        quality: {
          total: thousandth(quality.total),
          size: thousandth(quality.size),
          sharpness: thousandth(quality.sharpness),
          frontality: thousandth(quality.frontality),
        },
      }),
      model: face.model ?? detector.model,
      ...(file !== undefined && { file }),
      frame: [frame.width, frame.height],
    }
  }

  #passOver(reason: Reason): [] {
    this.#parts.meters.facesPassedOver.inc({ camera: this.#parts.camera, reason })
    return []
  }
}

/** Modes other than `best` send a face at once as it is. */
const isFirstWanted = ({ emit }: Pick<DeviceConfig, 'emit'>) => emit.first && emit.mode === 'best'
/** Nothing of it has gone out yet. */
const isUnseen = ({ emittedAtMs, first }: Followed) => emittedAtMs === undefined && !first.isSent

/** Whether there is something to say that was not said yet. */
function tells(said: FollowedFace, now: FollowedFace): boolean {
  return (
    said.topScore !== now.topScore ||
    said.crop !== now.crop ||
    said.active !== now.active ||
    said.stationary !== now.stationary ||
    (!now.stationary && said.box.some((value, index) => value !== now.box[index]))
  )
}

const tenth = (value: number) => Math.round(value * 10) / 10
const thousandth = (value: number) => Math.round(value * 1000) / 1000
const tenths = ([left, top, width, height]: Box): [number, number, number, number] => [
  tenth(left),
  tenth(top),
  tenth(width),
  tenth(height),
]
