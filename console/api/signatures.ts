import { z } from 'zod'
import { asFailure, failure } from '../../lib/errors.ts'
import { ChainCheck, type Finding, isWrong } from '../../lib/signatures/chain.ts'
import { readSigners } from '../../lib/signatures/folder.ts'
import type { Signers } from '../../lib/signatures/signers.ts'
import { Verification } from '../../lib/signatures/verification.ts'
import { isCameraPath } from '../../wire/users.ts'
import { notFound } from '../access/demand.ts'
import type { Context } from '../context.ts'
import type { Clip } from '../database/clip.ts'
import { clipsWithin, markLost } from '../database/clips.ts'
import { problems, unchanged } from './answers.ts'
import { asked } from './asked.ts'
import { idSchema, timeMsSchema } from './query.ts'
import { cameraNamed, stretchQuerySchema } from './recordings.ts'
import type { Api } from './server.ts'
import { spanOf } from './span.ts'
import { Views } from './views.ts'

/**
 * Who signed a stretch, and whether it is all there. By what the database knows: whether each chunk names the one before.
 * By the bytes, on request: whether each is as its device signed it.
 */

const CHAIN_MS_MAX = 24 * 3_600_000
const CHAIN_CHUNKS_MAX = 100_000
const VERIFY_MS_MAX = 3_600_000
const VERIFY_CHUNKS_MAX = 4000
const VERIFYING_MAX = 2
/** The connection is silent meanwhile. */
const VERIFY_SILENT_MS_MAX = 5 * 60_000
const FINDINGS_MAX = 200
const SIGNERS_MS_MAX = 60_000
const RETRY_AFTER_S = 10

const findingSchema = z.object({
  is: z
    .enum(['begins', 'missing', 'reordered', 'duplicate', 'forked', 'anew', 'gap'])
    .meta({ description: 'missing: chunks were made that are not here. gap: the device says why.' }),
  isWrong: z.boolean(),
  fromMs: timeMsSchema.nullable(),
  toMs: timeMsSchema,
  count: z.number().int().nullable(),
  why: z.string().nullable(),
})

export const chainSchema = z
  .object({
    chunks: z.number().int(),
    signed: z.number().int().meta({ description: 'Those that name the key they are signed with.' }),
    signers: z.array(
      z.object({
        key: z.string().meta({ description: 'SHA-256 of the public key, hex.' }),
        chunks: z.number().int(),
        device: z
          .string()
          .nullable()
          .meta({ description: 'Whose it is, as site/device, by a certificate; null: not known.' }),
      }),
    ),
    isUnbroken: z.boolean().meta({
      description: 'All are signed, and each names the one before: nothing was cut out.',
    }),
    findings: z.array(findingSchema),
  })
  .meta({ id: 'RecordingChain', description: 'What the database knows; signatures are not checked.' })
export type RecordingChain = z.infer<typeof chainSchema>

export const verifySchema = z
  .strictObject({
    camera: z.string().refine(isCameraPath, 'must be a camera, as site/device/camera'),
    fromMs: timeMsSchema,
    toMs: timeMsSchema,
  })
  .meta({ id: 'VerifyRecording' })
export type VerifyRecording = z.input<typeof verifySchema>

export const verifiedSchema = z
  .object({
    isRight: z.boolean().meta({ description: 'All are as their device signed them, and none is missing.' }),
    chunks: z.number().int(),
    bytes: z.number().int(),
    verdicts: z.array(z.object({ verdict: z.string(), chunks: z.number().int() })),
    wrong: z
      .array(z.object({ id: idSchema, atMs: timeMsSchema, verdict: z.string(), detail: z.string() }))
      .meta({ description: 'The first of those that are not signed, or not as they were signed.' }),
    findings: z.array(findingSchema),
  })
  .meta({ id: 'RecordingVerified' })
export type RecordingVerified = z.infer<typeof verifiedSchema>

const tags = ['recordings']

export function signaturesRoutes(api: Api, { access, bucket, config, database, log }: Context): void {
  const views = Views.of(access)
  const { signersFolder } = config.recordings
  let known: { readonly signers: Signers; readonly atMs: number } | undefined
  let running = 0

  /** Errors: those of `readSigners` */
  const signersNow = (): Signers | undefined => {
    if (signersFolder === undefined) return undefined
    const now = performance.now()
    if (!known || now - known.atMs > SIGNERS_MS_MAX)
      known = { signers: readSigners(signersFolder), atMs: now }
    return known.signers
  }

  api.get(
    '/recordings/chain',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'getRecordingChain',
        tags,
        summary: 'By whom a stretch is signed, and whether something was cut out of it',
        querystring: stretchQuerySchema,
        response: { 200: chainSchema, 304: unchanged, ...problems(404) },
      },
    },
    async (request) => {
      const { camera: path, from, to } = request.query
      const span = spanOf(from, to, CHAIN_MS_MAX)
      const { camera, id } = await cameraNamed(database, path, asked(access, request).rows)
      const clips = await clipsWithin(database.read, id, camera, span, CHAIN_CHUNKS_MAX)
      return chainOf(clips, trusted(signersNow))
    },
  )

  api.post(
    '/recordings/verify',
    {
      config: { right: 'recordings' },
      schema: {
        operationId: 'verifyRecording',
        tags,
        summary: 'Read a stretch, at most an hour, and check each signature',
        body: verifySchema,
        response: { 200: verifiedSchema, ...problems(404, 409, 413, 415) },
      },
    },
    async (request, reply) => {
      const caller = asked(access, request)
      const { camera: path, fromMs, toMs } = request.body
      const span = spanOf(fromMs, toMs, VERIFY_MS_MAX)
      const { camera, id } = await cameraNamed(database, path, caller.rows)
      const signers = trusted(signersNow, (error) => {
        log.warn({ code: asFailure(error).code }, asFailure(error).message)
        // What it says names a folder of the console's.
        throw failure('CERTIFICATE_UNUSABLE', 'The certificates of signers cannot be read. The log says why.')
      })
      if (!signers)
        throw failure(
          'CERTIFICATE_NOT_FOUND',
          'The console has no certificates of signers: "recordings.signersFolder" names their folder.',
        )
      if (running >= VERIFYING_MAX) {
        reply.header('retry-after', RETRY_AFTER_S)
        throw failure('TOO_MANY', `${running} stretches are being verified. Try again in a moment.`)
      }
      running += 1
      try {
        const clips = await clipsWithin(database.read, id, camera, span, VERIFY_CHUNKS_MAX)
        if (clips.length === 0) throw notFound()
        await views.looked(caller, camera, fromMs)
        reply.raw.socket?.setTimeout(VERIFY_SILENT_MS_MAX)
        const verification = new Verification(signers)
        const wrong: RecordingVerified['wrong'] = []
        const findings: Finding[] = []
        const lost: Clip[] = []
        let unlike = 0
        for (const clip of clips) {
          const bytes = await bucket.read(clip.key, request.signal)
          if (!bytes) {
            lost.push(clip)
            continue
          }
          const { judged, findings: more } = verification.add(bytes, clip.key)
          findings.push(...more.map(({ finding }) => finding))
          const isAnnounced = judged.digest === clip.sha256
          if (!isAnnounced && judged.verdict === 'signed') unlike += 1
          if ((judged.verdict !== 'signed' || !isAnnounced) && wrong.length < FINDINGS_MAX)
            wrong.push({
              id: clip.id,
              atMs: clip.atMs,
              verdict: judged.verdict,
              detail: isAnnounced ? judged.sentence : `Not what was announced. ${judged.sentence}`,
            })
        }
        findings.push(...verification.end().map(({ finding }) => finding))
        await markLost(
          database.write,
          lost.map(({ id }) => id),
          Date.now(),
        )
        const { files, bytes, verdicts, wrong: wrongs } = verification.totals
        return {
          isRight: wrongs === 0 && unlike === 0 && lost.length === 0 && !findings.some(isWrong),
          chunks: files,
          bytes,
          verdicts: [
            ...Object.entries(verdicts).map(([verdict, chunks]) => ({ verdict, chunks })),
            { verdict: 'not in the bucket', chunks: lost.length },
          ].filter(({ chunks }) => chunks > 0),
          wrong,
          findings: shown(findings),
        }
      } finally {
        running -= 1
      }
    },
  )
}

/** The chain is told also where no certificate can be read. */
function trusted(
  read: () => Signers | undefined,
  onFault: (error: unknown) => undefined = () => undefined,
): Signers | undefined {
  try {
    return read()
  } catch (error) {
    return onFault(error)
  }
}

/** Pure. */
export function chainOf(clips: readonly Clip[], signers: Signers | undefined): RecordingChain {
  const chain = new ChainCheck()
  const findings: Finding[] = []
  const byKey = new Map<string, number>()
  for (const clip of clips) {
    if (clip.signer === undefined) continue
    byKey.set(clip.signer, (byKey.get(clip.signer) ?? 0) + 1)
    const { key: at, sha256: digest, previous, capturedAtMs, endMs, run, sequence, gap } = clip
    findings.push(
      ...chain.add({
        at,
        kind: 'clip',
        digest,
        capturedAtMs,
        endMs,
        run,
        sequence,
        ...(previous !== undefined && { previous }),
        ...(gap && { gap }),
      }),
    )
  }
  findings.push(...chain.end())
  const signed = [...byKey.values()].reduce((sum, count) => sum + count, 0)
  return {
    chunks: clips.length,
    signed,
    signers: [...byKey].map(([key, chunks]) => {
      const signer = signers?.of(key)[0]?.signer
      return { key, chunks, device: signer ? `${signer.site}/${signer.device}` : null }
    }),
    isUnbroken: clips.length > 0 && signed === clips.length && !findings.some(isWrong),
    findings: shown(findings),
  }
}

const shown = (findings: readonly Finding[]): RecordingChain['findings'] =>
  findings.slice(0, FINDINGS_MAX).map((finding) => {
    const more = { isWrong: isWrong(finding), count: null, why: null }
    switch (finding.is) {
      case 'missing':
        return {
          ...more,
          is: finding.is,
          fromMs: finding.after.capturedAtMs,
          toMs: finding.before.capturedAtMs,
          count: finding.count ?? null,
          why: finding.stated ? 'lost' : null,
        }
      case 'gap':
        return { ...more, is: finding.is, fromMs: finding.fromMs, toMs: finding.toMs, why: finding.why }
      default:
        return {
          ...more,
          is: finding.is,
          fromMs: finding.file.capturedAtMs,
          toMs: finding.file.capturedAtMs,
        }
    }
  })
