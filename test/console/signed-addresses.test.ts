import Fastify from 'fastify'
import t from 'tap'
import { servePages } from '../../console/pages.ts'
import { signedOriginOf } from '../../console/recordings/signed-origin.ts'
import { S3Bucket } from '../../lib/buckets/s3.ts'
import { makeClip } from '../kit/clips.ts'
import { apiServer, NORTH } from './api-server.ts'

/** Players that fetch from the bucket itself. Signing needs no server; that a store takes what is signed, its own tests show. */

const endpoint = 'http://store.example:9000'

async function bucketThatSigns() {
  process.env.AWS_ACCESS_KEY_ID ??= 'testkey'
  process.env.AWS_SECRET_ACCESS_KEY ??= 'testsecret'
  return S3Bucket.open({ bucket: 'video', endpoint, publicRead: false, access: 'read' })
}

t.test('a playlist names the bucket, the pages may fetch from there, and from nowhere else', async (t) => {
  await using bucket = await bucketThatSigns()
  const server = await apiServer(t, { recordings: { signedAddresses: true, signedFor: '10m' } })
  const clip = makeClip({ ...NORTH, capturedAtMs: Date.UTC(2026, 10, 20) })
  await server.record(clip)
  const { capturedAtMs: from } = clip.metadata
  Object.assign(server.bucket, { signedUrl: bucket.signedUrl.bind(bucket) })
  const text = await (
    await server.get(`/playlist.m3u8?camera=north/pi/gate&from=${from}&to=${from + 60_000}`)
  ).text()
  const address = new URL(text.split('\n').find((line) => line.startsWith('http')) ?? '')
  t.equal(address.origin, endpoint)
  t.match(address.pathname, `/video/recordings.private/north/pi/gate/2026/11/20/00/${clip.metadata.id}.mp4`)
  t.equal(address.searchParams.get('X-Amz-Expires'), '600')
  t.match(text, `#EXT-X-MAP:URI="${endpoint}/video/`)
  t.notMatch(text, /\/api\/v1\/recordings/)

  const policyOf = async (origin: string | undefined) => {
    const app = Fastify()
    await servePages(app, [], origin)
    const { headers } = await app.inject('/')
    await app.close()
    return String(headers['content-security-policy'])
  }
  t.match(await policyOf(await signedOriginOf(bucket)), `connect-src 'self' ${endpoint};`)
  t.match(await policyOf(await signedOriginOf({})), "connect-src 'self';")
})
