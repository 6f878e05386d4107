import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import type { z } from 'zod'
import { brokerSchema } from '../../broker/config.ts'
import { subscriberSchema } from '../../cloud-subscriber/config.ts'
import { deviceSchema } from '../../device/config.ts'
import { inferenceSchema } from '../../inference/config.ts'
import { loadConfig } from '../../lib/config.ts'
import { variableOf } from '../../lib/variables.ts'
import { temporaryFolder } from '../kit/programs.ts'

/** "A file of yours needs only what differs": the files in conf/ name every setting that has a default, at that default. */

type Tree = Record<string, unknown>

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Each of its settings, with the way to it; a list is one. */
function settingsOf(tree: Tree, above: readonly string[] = []): { path: string[]; value: unknown }[] {
  return Object.entries(tree).flatMap(([key, value]) => {
    const path = [...above, key]
    return isTree(value) ? settingsOf(value, path) : [{ path, value }]
  })
}

const alone = (path: readonly string[], value: unknown): unknown =>
  path.reduceRight((below, key) => ({ [key]: below }), value)

/** Each entry with what it cannot do without, and one setting more. */
function entriesAlone(list: readonly unknown[], isValid: (entries: unknown[]) => boolean): unknown[][] {
  return list.filter(isTree).flatMap((entry) => {
    const without = (key: string) => Object.fromEntries(Object.entries(entry).filter(([it]) => it !== key))
    const needed = Object.keys(entry).filter((key) => !isValid([without(key)]))
    const least = Object.fromEntries(needed.map((key) => [key, entry[key]]))
    return settingsOf(entry).map(({ path, value }) => [{ ...least, ...(alone(path, value) as Tree) }])
  })
}

for (const [file, schema] of [
  ['device.yaml', deviceSchema],
  ['broker.yaml', brokerSchema],
  ['subscriber.yaml', subscriberSchema],
  ['inference.yaml', inferenceSchema],
] as readonly (readonly [string, z.ZodType])[]) {
  const tree = parse(readFileSync(resolve(import.meta.dirname, '..', '..', 'conf', file), 'utf8')) as Tree
  const defaults = schema.parse({})

  t.test(`${file}: each setting alone leaves the others at their defaults`, async (t) => {
    const own = join(temporaryFolder(t), file)
    const load = (content: unknown) => {
      writeFileSync(own, JSON.stringify(content))
      return loadConfig(schema, { file: own })
    }
    const settings = settingsOf(tree)
    t.ok(settings.length > 15, `${settings.length} settings`)
    for (const { path, value } of settings) {
      t.strictSame(load(alone(path, value)), defaults, path.join('.'))
      if (!Array.isArray(value)) continue
      const isValid = (entries: unknown[]) => schema.safeParse(alone(path, entries)).success
      for (const entries of entriesAlone(value, isValid))
        t.strictSame(load(alone(path, entries)), defaults, `${path.join('.')}: ${JSON.stringify(entries)}`)
    }
  })

  t.test(`${file}: so does each from the environment, and each section that is empty`, async (t) => {
    for (const { path, value } of settingsOf(tree)) {
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      const name = variableOf(path)
      t.strictSame(loadConfig(schema, { env: { [name]: text } }), defaults, `${name}=${text}`)
    }
    const sections = new Set(
      settingsOf(tree).flatMap(({ path }) =>
        path.slice(0, -1).map((_, at) => path.slice(0, at + 1).join('.')),
      ),
    )
    for (const section of sections)
      t.strictSame(loadConfig(schema, { overrides: { [section]: null } }), defaults, section)
  })
}

t.test(
  'the bucket: its path alone, in a file and in the environment, and S3 with its name alone',
  async (t) => {
    const folder = { type: 'folder', path: '/srv/faces', publicRead: false, writesMax: 64 }
    const file = join(temporaryFolder(t), 'subscriber.yaml')
    writeFileSync(file, 'bucket: {path: /srv/faces}\n')
    t.strictSame(loadConfig(subscriberSchema, { file }).bucket, folder)
    t.strictSame(
      loadConfig(subscriberSchema, { env: { SIGHTLINE_BUCKET__PATH: '/srv/faces' } }).bucket,
      folder,
    )
    const env = { SIGHTLINE_BUCKET__TYPE: 's3', SIGHTLINE_BUCKET__BUCKET: 'faces' }
    t.strictSame(loadConfig(subscriberSchema, { env }).bucket, {
      type: 's3',
      bucket: 'faces',
      prefix: '',
      publicRead: false,
      writesMax: 32,
      requestTimeout: 20_000,
    })
    t.throws(() => loadConfig(subscriberSchema, { env: { SIGHTLINE_BUCKET__TYPE: 'ftp' } }), {
      message:
        'environment variable SIGHTLINE_BUCKET__TYPE: "bucket.type" must be "folder" or "s3", not "ftp".',
    })
  },
)

t.test(
  'an address whose port cannot be, or that is none, is a sentence that does not repeat it',
  async (t) => {
    const bridge = (url: string) => ({ bridges: [{ url, topics: [{ filter: 'a' }] }] })
    const places: readonly (readonly [string, z.ZodType, (address: string) => Tree, string])[] = [
      ['broker.url', deviceSchema, (url) => ({ broker: { url } }), 'mqtt'],
      ['broker.url', subscriberSchema, (url) => ({ broker: { url } }), 'mqtts'],
      ['bridges.0.url', brokerSchema, bridge, 'mqtt'],
      ['bucket.publicUrl', subscriberSchema, (publicUrl) => ({ bucket: { publicUrl } }), 'https'],
      [
        'bucket.endpoint',
        subscriberSchema,
        (endpoint) => ({ bucket: { type: 's3', bucket: 'faces', endpoint } }),
        'http',
      ],
      ['cameras.0.source', deviceSchema, (source) => ({ cameras: [{ name: 'a', source }] }), 'rtsp'],
    ]
    const file = join(temporaryFolder(t), 'conf.yaml')
    for (const [key, schema, place, scheme] of places) {
      const load = (address: string) => {
        writeFileSync(file, JSON.stringify(place(address)))
        return loadConfig(schema, { file })
      }
      t.ok(load(`${scheme}://host:65535`), key)
      const wrong = ['ftp://host', `${scheme}://u:secret@host:99999`, `${scheme}://host:65536/path`]
      // FFmpeg is who reads a camera's address.
      if (scheme !== 'rtsp')
        wrong.push(`${scheme}://`, 'host:1883', `${scheme}://ho st`, `${scheme}://host:port`)
      for (const address of wrong)
        try {
          load(address)
          t.fail(`${key}: ${address} is taken`)
        } catch (error) {
          const { code, message } = error as { code: string; message: string }
          t.match(
            { code, message },
            { code: 'CONFIG_INVALID', message: new RegExp(`"${key}" must `) },
            address,
          )
          t.notMatch(message, 'secret')
        }
    }
  },
)
