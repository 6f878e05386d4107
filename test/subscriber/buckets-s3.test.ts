import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  GetBucketCorsCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketPolicyCommand,
  HeadObjectCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
} from '@aws-sdk/client-s3'
import pino from 'pino'
import t, { type Test } from 'tap'
import { Retention } from '../../cloud-subscriber/retention.ts'
import { S3Bucket, type S3Options } from '../../lib/buckets/s3.ts'
import { newId } from '../../wire/id.ts'
import { keepKey } from '../../wire/keep.ts'
import { CLIP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import { emptyS3Bucket, makeS3Bucket, s3Client, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { until } from '../kit/wait.ts'
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
        status === 200
          ? code.startsWith('<')
            ? code
            : ''
          : `<Error><Code>${code}</Code><Message>testkey said so</Message></Error>`,
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve).closeAllConnections()))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
/** One that answers just so. */
async function rawStore(t: Test, answer: () => [number, string, object]) {
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      const [status, body, headers] = answer()
      response.writeHead(status, { 'content-type': 'text/html', ...headers }).end(body)
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

  t.test('recordings are never public: only a signed address opens one', async (t) => {
    const bucket = await ownBucket(t)
    await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: true })
    const at = { site: 'oslo', device: 'door', camera: 'cam' }
    const key = objectKey({ ...at, id: newId() }, Date.now(), CLIP)
    await opened.create({ ...crop(key, 'a chunk'), contentType: CLIP.mediaType })
    await opened.replace(crop(keepKey(at), '{}'))
    await opened.create(crop('oslo/door/cam/a.jpg'))
    t.equal((await fetch(opened.url('oslo/door/cam/a.jpg'))).status, 200, 'the bucket is public')
    t.equal((await fetch(opened.url(key))).status, 403)
    t.equal((await fetch(opened.url(keepKey(at)))).status, 403)
    t.equal(await (await fetch(await opened.signedUrl(key, 60))).text(), 'a chunk')
    await using retention = Retention.open({
      ...{ bucket: opened, ageMsMax: 30 * 24 * 3_600_000, index: undefined, log: pino({ level: 'silent' }) },
      events: { expired: () => {} },
    })
    await until('there are rules', async () => (await opened.expiryRules())?.length === 1)
    t.match(await opened.expiryRules(), [{ prefix: 'oslo/' }], 'no rule of whole days for recordings')
    t.equal(retention.fault, undefined)
  })

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

  t.test('what opens a bucket is taken back where it was not open, and stays where it was', async (t) => {
    const bucket = await ownBucket(t)
    const client = s3Client()
    t.teardown(() => client.destroy())
    await using closed = await S3Bucket.open({ bucket, endpoint, publicRead: false })
    await closed.create(crop('oslo/door/cam/a.jpg'))
    const status = async () => (await fetch(closed.url('oslo/door/cam/a.jpg'))).status
    t.equal(await status(), 403)
    {
      await using _open = await closed.allowPublicRead()
      t.equal(await status(), 200)
    }
    t.equal(await status(), 403)
    await t.rejects(client.send(new GetBucketPolicyCommand({ Bucket: bucket })), {
      name: 'NoSuchBucketPolicy',
    })
    await t.rejects(client.send(new GetBucketCorsCommand({ Bucket: bucket })), {
      name: 'NoSuchCORSConfiguration',
    })
    const own = {
      Version: '2012-10-17',
      Statement: [
        {
          Sid: 'Theirs',
          Effect: 'Allow',
          Principal: '*',
          Action: ['s3:GetObject'],
          Resource: [`arn:aws:s3:::${bucket}/theirs/*`],
        },
      ],
    }
    await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: JSON.stringify(own) }))
    {
      await using _open = await closed.allowPublicRead()
      t.equal(await status(), 200)
    }
    const { Policy } = await client.send(new GetBucketPolicyCommand({ Bucket: bucket }))
    t.match(JSON.parse(Policy ?? ''), { Statement: [{ Sid: 'Theirs' }] })
    t.equal(JSON.parse(Policy ?? '').Statement.length, 1)
    await using _program = await S3Bucket.open({ bucket, endpoint, publicRead: true })
    {
      await using _open = await closed.allowPublicRead()
    }
    t.equal(await status(), 200, 'the program that runs has it open')
  })

  t.test('old crops go by a rule for each site, and the rules of others stay', async (t) => {
    const bucket = await ownBucket(t)
    const client = s3Client()
    t.teardown(() => client.destroy())
    const rules = async () =>
      (await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }))).Rules ?? []
    const shortOf = async () =>
      (await rules())
        .map(({ ID, Filter, Prefix, Expiration }) => `${ID} ${Filter?.Prefix ?? Prefix} ${Expiration?.Days}`)
        .sort()
    const theirs = ['sightline-mine', 'theirs'].map((ID) => ({
      ID,
      Status: 'Enabled' as const,
      Filter: { Prefix: `${ID}/logs/` },
      Expiration: { Days: 7 },
    }))
    await client.send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: bucket,
        LifecycleConfiguration: { Rules: theirs },
      }),
    )
    const before = await shortOf()
    await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: false })
    await using prefixed = await S3Bucket.open({ bucket, endpoint, publicRead: false, prefix: 'p' })
    t.equal(await opened.expire(new Set(['oslo']), 30), true)
    t.equal(await prefixed.expire(new Set(['oslo']), 9), true)
    t.equal(await opened.expire(new Set(['berlin']), 30), true)
    const others = ['sightline-p/oslo p/oslo/ 9', ...before]
    t.same(await shortOf(), ['sightline-berlin berlin/ 30', 'sightline-oslo oslo/ 30', ...others].sort())
    t.match(
      (await rules()).find(({ ID }) => ID === 'sightline-oslo'),
      { Status: 'Enabled', NoncurrentVersionExpiration: { NoncurrentDays: 1 } },
    )
    t.equal(await opened.expire(new Set(), 10), true)
    t.same(await shortOf(), ['sightline-berlin berlin/ 10', 'sightline-oslo oslo/ 10', ...others].sort())
    t.equal(await opened.expire(new Set(['oslo']), undefined), true)
    t.same(await shortOf(), [...others].sort())
  })

  t.test('the last rule taken back leaves no rules', async (t) => {
    const bucket = await ownBucket(t)
    await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: false })
    t.equal(await opened.expire(new Set(), undefined), true)
    await opened.expire(new Set(['oslo']), 30)
    await opened.expire(new Set(), undefined)
    const client = s3Client()
    t.teardown(() => client.destroy())
    await t.rejects(client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket })), {
      name: 'NoSuchLifecycleConfiguration',
    })
  })

  t.test('a signed address opens its object without credentials, until it expires', async (t) => {
    const bucket = await ownBucket(t)
    await using opened = await S3Bucket.open({ bucket, endpoint, publicRead: false, prefix: 'p' })
    await opened.create(crop('s/1.jpg'))
    const address = await opened.signedUrl('s/1.jpg', 2)
    t.notMatch(address, 'testsecret')
    const answer = await fetch(address)
    t.equal(await answer.text(), 'a face')
    t.equal(answer.headers.get('cache-control'), 'private, max-age=2')
    t.equal((await fetch(address.replace('1.jpg', '2.jpg'))).status, 403)
    await new Promise((resolve) => setTimeout(resolve, 3100))
    t.equal((await fetch(address)).status, 403)
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
  t.match(error.message, /connection refused.*bucket\.endpoint/)
})

t.test('a host that has no address is unreachable', async (t) => {
  const error = await failureOf(
    S3Bucket.open({ bucket: 'b', endpoint: 'http://nowhere.invalid', publicRead: false }),
  )
  t.equal(error.code, 'BUCKET_UNREACHABLE')
  t.match(error.message, /host name not found/)
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

t.test('lifecycle rules that are as they should be are not written again', async (t) => {
  const methods: string[] = []
  const endpoint = await cannedStore(t, ({ method = '', url }) => {
    if (!url?.includes('lifecycle')) return [412, 'PreconditionFailed']
    methods.push(method)
    const rule =
      '<Rule><ID>sightline-oslo</ID><Prefix>oslo/</Prefix><Status>Enabled</Status><Expiration><Days>30</Days></Expiration>' +
      '<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>'
    return [200, method === 'GET' ? `<LifecycleConfiguration>${rule}</LifecycleConfiguration>` : '']
  })
  await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
  t.equal(await bucket.expire(new Set(['oslo']), 30), true)
  t.same(methods, ['GET'])
  t.equal(await bucket.expire(new Set(['oslo']), 29), true)
  t.same(methods, ['GET', 'GET', 'PUT'])
})

for (const [status, code] of [
  [501, 'NotImplemented'],
  [405, 'MethodNotAllowed'],
  [403, 'AccessDenied'],
] as const)
  t.test(`a store that answers ${code} to lifecycle rules is swept instead`, async (t) => {
    const endpoint = await cannedStore(t, ({ url }) =>
      url?.includes('lifecycle') ? [status, code] : [412, 'PreconditionFailed'],
    )
    await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
    t.equal(await bucket.expire(new Set(['oslo']), 30), false)
  })

t.test(
  'a list goes on page by page, without the prefix, and leaves out keys that we would not write',
  async (t) => {
    const page = (names: string[], next?: string) =>
      `<ListBucketResult>${names.map((name) => `<Contents><Key>p/${name}</Key><Size>1</Size></Contents>`).join('')}${
        next ? `<NextContinuationToken>${next}</NextContinuationToken>` : ''
      }</ListBucketResult>`
    const endpoint = await cannedStore(t, ({ method, url }) => {
      if (method === 'PUT') return [412, 'PreconditionFailed']
      return [
        200,
        url?.includes('continuation-token=two') ? page(['s/3.jpg']) : page(['s/1.jpg', 's/../2.jpg'], 'two'),
      ]
    })
    await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false, prefix: 'p' })
    const listed = await Array.fromAsync(bucket.list('s/'))
    t.same(
      listed.map(({ key }) => key),
      ['s/1.jpg', 's/3.jpg'],
    )
  },
)

for (const [status, code] of [
  [501, 'NotImplemented'],
  [400, 'MalformedPolicy'],
  [405, 'MethodNotAllowed'],
] as const)
  for (const method of ['GET', 'PUT'])
    t.test(
      `a store that answers ${code} to ${method} of a policy cannot be public: which setting to change`,
      async (t) => {
        const endpoint = await cannedStore(t, ({ url, method: asked }) =>
          url?.includes('policy')
            ? asked === method
              ? [status, code]
              : [404, 'NoSuchBucketPolicy']
            : [412, 'PreconditionFailed'],
        )
        const error = await failureOf(S3Bucket.open({ bucket: 'b', endpoint, publicRead: true }))
        t.match(error, { code: 'BUCKET_REFUSED', message: /policy.*Set "bucket\.publicRead: false"/ })
        t.match(error.message, `${code}, ${status}`)
      },
    )

t.test('a store that does not let us write CORS says which rights are missing', async (t) => {
  const endpoint = await cannedStore(t, ({ url }) =>
    url?.includes('cors') ? [403, 'AccessDenied'] : url?.includes('policy') ? [200, ''] : [412, ''],
  )
  const error = await failureOf(S3Bucket.open({ bucket: 'b', endpoint, publicRead: true }))
  t.match(error, { code: 'BUCKET_DENIED', message: /s3:PutBucketCORS.*"bucket\.publicRead: false"/ })
})

for (const [where, status, body, headers] of [
  ['its body', 400, '<Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region>', {}],
  [
    'words',
    400,
    "<Code>AuthorizationHeaderMalformed</Code><Message>the region 'x' is wrong; expecting 'eu-central-1'</Message>",
    {},
  ],
  ['a header', 301, '<Code>PermanentRedirect</Code>', { 'x-amz-bucket-region': 'eu-central-1' }],
] as const)
  t.test(`a wrong region is said with the right one, where the answer has it in ${where}`, async (t) => {
    const endpoint = await rawStore(t, () => [status, `<Error>${body}</Error>`, headers])
    for (const publicRead of [false, true]) {
      const error = await failureOf(
        S3Bucket.open({ bucket: 'faces', region: 'eu-west-9', endpoint, publicRead }),
      )
      t.match(error, {
        code: 'BUCKET_REFUSED',
        message:
          /^The bucket "faces" is in the region "eu-central-1", not in "eu-west-9" .*Set "bucket\.region: eu-central-1"\.$/,
      })
    }
  })

t.test('a wrong region without the right one in the answer names the setting', async (t) => {
  const endpoint = await cannedStore(t, () => [400, 'AuthorizationHeaderMalformed'])
  const error = await failureOf(S3Bucket.open({ bucket: 'faces', endpoint, publicRead: false }))
  t.match(error, { code: 'BUCKET_REFUSED', message: /rejects the region "us-east-1".*Set "bucket\.region"/ })
})

t.test('an object that the store will not delete is an error, whatever became of the others', async (t) => {
  const endpoint = await cannedStore(t, ({ method }) =>
    method === 'PUT'
      ? [412, 'PreconditionFailed']
      : [
          200,
          '<DeleteResult><Error><Key>s/1.jpg</Key><Code>NoSuchKey</Code></Error>' +
            '<Error><Key>s/2.jpg</Key><Code>AccessDenied</Code></Error></DeleteResult>',
        ],
  )
  await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
  const error = await failureOf(bucket.remove(['s/1.jpg', 's/2.jpg']))
  t.equal(error.code, 'BUCKET_DENIED')
  t.match(error.message, /s3:DeleteObject/)
})

t.test('a store that does not know DeleteObjects deletes one by one', async (t) => {
  const deleted: string[] = []
  const endpoint = await cannedStore(t, ({ method, url = '' }) => {
    if (method === 'PUT') return [412, 'PreconditionFailed']
    if (method === 'POST') return [501, 'NotImplemented']
    deleted.push(url.replace(/\?.*/, ''))
    return [204, '']
  })
  await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
  await bucket.remove(Array.from({ length: 20 }, (_, i) => `s/${i}.jpg`))
  t.equal(new Set(deleted).size, 20)
})

for (const [what, status, body] of [
  ['is busy (409)', 409, '<Error><Code>OperationAborted</Code><Message>m</Message></Error>'],
  ['is moving (307)', 307, ''],
  ['stands behind a proxy that answers for it (502)', 502, '<html><h1>Bad gateway & sorry</html>'],
  ['is answered for with nonsense (400)', 400, '\u0000{{{'],
  ['is answered for by a login page (200)', 200, '<html>Log in</html>'],
] as const)
  t.test(`a store that ${what} is worth another try, and has stored nothing`, async (t) => {
    const answers: [number, string, object] = [412, '<Error><Code>PreconditionFailed</Code></Error>', {}]
    const endpoint = await rawStore(t, () => answers)
    await using bucket = await S3Bucket.open({ bucket: 'b', endpoint, publicRead: false })
    answers.splice(0, 3, status, body, {})
    const attempts = [
      () => bucket.create(crop('s/1.jpg')),
      () => bucket.replace(crop('s/1.jpg')),
      () => bucket.read('s/1.jpg'),
    ]
    for (const attempt of attempts) t.equal((await failureOf(attempt())).code, 'BUCKET_UNREACHABLE')
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
