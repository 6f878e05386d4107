import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  GetBucketCorsCommand,
  GetBucketPolicyCommand,
  HeadObjectCommand,
  PutBucketPolicyCommand,
} from '@aws-sdk/client-s3'
import t, { type Test } from 'tap'
import { S3Bucket, type S3Options } from '../../cloud-subscriber/buckets/s3.ts'
import { emptyS3Bucket, makeS3Bucket, s3Client, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { bucketContract } from './bucket-contract.ts'

const endpoint = s3Endpoint ?? ''
const crop = (key: string, text = 'a face') => ({
  key,
  body: Buffer.from(text),
  contentType: 'image/jpeg',
  cacheControl: 'public, max-age=31536000, immutable',
})

async function ownBucket(t: Test): Promise<string> {
  const bucket = await makeS3Bucket()
  t.teardown(() => emptyS3Bucket(bucket))
  return bucket
}
async function failureOf(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => Object.assign(new Error('it did not fail'), { code: 'NONE' }),
    (error: Error) => error,
  )
}
/** A store that answers every request in one way: for faults that a real store cannot be made to show. */
async function cannedStore(
  t: Test,
  answer: (request: {
    method?: string
    headers: NodeJS.Dict<string | string[]>
    url?: string
  }) => [number, string],
) {
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      const [status, code] = answer(request)
      response.writeHead(status, {
        'content-type': 'application/xml',
        ...(status === 200 ? { etag: '"1"' } : {}),
      })
      response.end(
        status === 200 ? '' : `<Error><Code>${code}</Code><Message>testkey said so</Message></Error>`,
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve).closeAllConnections()))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
function withEnvironment(t: Test, values: Record<string, string>): void {
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]))
  Object.assign(process.env, values)
  t.teardown(() => {
    for (const [name, value] of Object.entries(before))
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
  })
}

t.test('a real S3 store', { skip: skipWithoutS3 }, (t) => {
  t.test('keeps the contract', (t) => {
    let last: S3Options
    bucketContract(t, {
      open: async (t) => {
        last = { bucket: await ownBucket(t), endpoint, publicRead: false, prefix: 'some/prefix' }
        return S3Bucket.open(last)
      },
      reopen: () => S3Bucket.open(last),
      createsOnce: true,
    })
    t.end()
  })

  t.test('conditional writes are found where the store honours them, and the mark stays', async (t) => {
    const bucket = await ownBucket(t)
    for (let start = 0; start < 2; start += 1) {
      await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: false })
      t.equal(opened.conditionalWrites, true)
      t.match(Buffer.from((await opened.read('sightline.txt')) ?? []).toString(), /Sightline/)
    }
  })

  t.test('content type and cache header reach the store', async (t) => {
    const bucket = await ownBucket(t)
    await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: false })
    await opened.create(crop('s/1.jpg'))
    const client = s3Client()
    const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 's/1.jpg' }))
    client.destroy()
    t.equal(head.ContentType, 'image/jpeg')
    t.equal(head.CacheControl, 'public, max-age=31536000, immutable')
  })

  t.test('nothing is public unless the config says so', async (t) => {
    const bucket = await ownBucket(t)
    await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: false })
    await opened.create(crop('s/1.jpg'))
    t.equal((await fetch(opened.url('s/1.jpg'))).status, 403)
  })

  t.test(
    'publicRead lets anyone read crops and gallery, not list, not read the rest, not write',
    async (t) => {
      const bucket = await ownBucket(t)
      await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: true, prefix: 'p' })
      await opened.create(crop('s/1.jpg'))
      await opened.replace(crop('gallery/index/writers.json', '{}'))
      await opened.create(crop('quarantine/1.bin'))
      const crops = await fetch(opened.url('s/1.jpg'), { headers: { origin: 'https://elsewhere.example' } })
      t.equal(crops.status, 200)
      t.ok(crops.headers.get('access-control-allow-origin'), 'CORS')
      t.equal((await fetch(opened.url('gallery/index/writers.json'))).status, 200)
      t.equal((await fetch(opened.url('quarantine/1.bin'))).status, 403)
      t.equal((await fetch(`${endpoint}/${bucket}`)).status, 403, 'listing')
      t.equal((await fetch(opened.url('s/2.jpg'), { method: 'PUT', body: 'x' })).status, 403, 'writing')
    },
  )

  t.test('publicRead twice is once, and leaves the statements and rules of others', async (t) => {
    const bucket = await ownBucket(t)
    const client = s3Client()
    const theirs = {
      Sid: 'Theirs',
      Effect: 'Deny',
      Principal: '*',
      Action: 's3:PutObjectAcl',
      Resource: `arn:aws:s3:::${bucket}/*`,
    }
    await client.send(
      new PutBucketPolicyCommand({
        Bucket: bucket,
        Policy: JSON.stringify({ Version: '2012-10-17', Statement: [theirs] }),
      }),
    )
    for (let start = 0; start < 2; start += 1) {
      await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: true })
      t.ok(opened)
    }
    const { Policy } = await client.send(new GetBucketPolicyCommand({ Bucket: bucket }))
    const { CORSRules } = await client.send(new GetBucketCorsCommand({ Bucket: bucket }))
    client.destroy()
    t.same(
      (JSON.parse(Policy ?? '{}') as { Statement: { Sid: string }[] }).Statement.map(({ Sid }) => Sid),
      ['Theirs', 'SightlinePublicRead'],
    )
    t.equal(CORSRules?.length, 1)
  })

  t.test('a bucket that does not exist is named, with its endpoint', async (t) => {
    const error = await failureOf(
      S3Bucket.open({ bucket: 'no-such-bucket-here', endpoint, publicRead: false }),
    )
    t.equal(error.code, 'BUCKET_NOT_FOUND')
    t.match(error.message, /no-such-bucket-here.*127\.0\.0\.1/)
  })

  t.test('a wrong secret is denied, and stays out of the message', async (t) => {
    const bucket = await ownBucket(t)
    withEnvironment(t, { AWS_SECRET_ACCESS_KEY: 'wrong-secret-value' })
    const error = await failureOf(S3Bucket.open({ bucket, endpoint, publicRead: false }))
    t.equal(error.code, 'BUCKET_DENIED')
    t.match(error.message, /SignatureDoesNotMatch/)
    t.notMatch(error.message, /wrong-secret-value|testkey/)
  })

  t.test('an unknown access key is denied, and stays out of the message', async (t) => {
    const bucket = await ownBucket(t)
    withEnvironment(t, { AWS_ACCESS_KEY_ID: 'UNKNOWNKEY' })
    const error = await failureOf(S3Bucket.open({ bucket, endpoint, publicRead: false }))
    t.equal(error.code, 'BUCKET_DENIED')
    t.notMatch(error.message, /UNKNOWNKEY/)
  })
  t.end()
})

t.test('a store that nobody runs is unreachable, which is worth another try', async (t) => {
  const error = await failureOf(
    S3Bucket.open({ bucket: 'b', endpoint: 'http://127.0.0.1:9', publicRead: false }),
  )
  t.equal(error.code, 'BUCKET_UNREACHABLE')
  t.match(error.message, /ECONNREFUSED.*bucket\.endpoint/)
})

t.test('a host that has no address is unreachable', async (t) => {
  const error = await failureOf(
    S3Bucket.open({ bucket: 'b', endpoint: 'http://nowhere.invalid', publicRead: false }),
  )
  t.equal(error.code, 'BUCKET_UNREACHABLE')
})

t.test(
  'a store that fails inside is unreachable, and its words with our key in them are not repeated',
  async (t) => {
    const endpoint = await cannedStore(t, () => [503, 'SlowDown'])
    const error = await failureOf(S3Bucket.open({ bucket: 'b', endpoint, publicRead: false }))
    t.equal(error.code, 'BUCKET_UNREACHABLE')
    t.notMatch(error.message, /testkey/)
  },
)

for (const [what, status] of [
  ['ignores', 200],
  ['does not know', 501],
] as const)
  t.test(`a store that ${what} If-None-Match is written without it`, async (t) => {
    const seen: boolean[] = []
    const endpoint = await cannedStore(t, ({ headers, url }) => {
      const conditional = headers['if-none-match'] !== undefined
      if (url?.includes('/s/1.jpg')) seen.push(conditional)
      return conditional ? [status, 'NotImplemented'] : [200, '']
    })
    await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
    t.equal(bucket.conditionalWrites, false)
    t.equal(await bucket.create(crop('s/1.jpg')), 'stored')
    t.same(seen, [false])
  })

t.test('two conditional writes that meet (409) are tried again', async (t) => {
  let conflicts = 2
  const endpoint = await cannedStore(t, ({ url }) => {
    if (!url?.includes('/s/1.jpg')) return [412, 'PreconditionFailed']
    conflicts -= 1
    return conflicts >= 0 ? [409, 'ConditionalRequestConflict'] : [200, '']
  })
  await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
  t.equal(await bucket.create(crop('s/1.jpg')), 'stored')
  t.equal(conflicts, -1)
})

t.test('a request under way ends when its signal is aborted', async (t) => {
  const hanging = createServer(() => {})
  await new Promise<void>((resolve) => hanging.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => hanging.close(resolve).closeAllConnections()))
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Error('stopped')), 100)
  const startedMs = performance.now()
  await t.rejects(
    S3Bucket.open(
      {
        bucket: 'b',
        endpoint: `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`,
        publicRead: false,
      },
      controller.signal,
    ),
    { message: 'stopped' },
  )
  t.ok(performance.now() - startedMs < 2000)
})

t.test('addresses follow endpoint, style, prefix and publicUrl', async (t) => {
  const endpoint = await cannedStore(t, () => [412, 'PreconditionFailed'])
  const urlOf = async (options: Partial<S3Options>) => {
    await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false, ...options })
    return bucket.url('s/1.jpg').replace(endpoint, 'ENDPOINT')
  }
  t.equal(await urlOf({}), 'ENDPOINT/b/s/1.jpg')
  t.equal(await urlOf({ prefix: '/cameras/' }), 'ENDPOINT/b/cameras/s/1.jpg')
  t.equal(await urlOf({ prefix: 'x', publicUrl: 'https://cdn.example/' }), 'https://cdn.example/s/1.jpg')
  await t.rejects(urlOf({ prefix: '../x' }), { code: 'NAME_INVALID' })
})

t.test('an endpoint that is no address is refused without repeating it', async (t) => {
  for (const endpoint of ['user:secret@minio:9000', 'minio', 'ftp://minio', 'http://']) {
    const error = await failureOf(S3Bucket.open({ bucket: 'b', endpoint, publicRead: false }))
    t.equal(error.code, 'CONFIG_INVALID', endpoint)
    t.notMatch(error.message, 'secret')
  }
})

t.test('credentials in an endpoint reach no description, address or message', async (t) => {
  const store = await cannedStore(t, () => [404, 'NoSuchBucket'])
  const endpoint = store.replace('//', '//someone:hidden@')
  const error = await failureOf(S3Bucket.open({ bucket: 'b', endpoint, publicRead: false }))
  t.equal(error.code, 'BUCKET_NOT_FOUND')
  t.notMatch(error.message, /someone|hidden/)
})
