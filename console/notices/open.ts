import { readFileSync } from 'node:fs'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import type { Registry } from '../../lib/metrics.ts'
import type { Access } from '../access/access.ts'
import type { ConsoleConfig } from '../config.ts'
import type { NewsItem } from '../context.ts'
import type { Database } from '../database/database.ts'
import { Mailer } from './email.ts'
import { Guard } from './guard.ts'
import { openKeys } from './keys.ts'
import { Links } from './links.ts'
import { MqttNotices, type MqttParts } from './mqtt.ts'
import { Notices } from './notices.ts'
import type { OutboxParts } from './outbox.ts'
import { Push } from './push.ts'
import { Ways } from './ways.ts'

export interface OpenNotices {
  readonly config: Pick<ConsoleConfig, 'notices' | 'publicUrl' | 'recordings' | 'topicPrefix' | 'inbox'>
  readonly database: Database
  readonly bucket: Bucket
  readonly access: Pick<Access, 'people'>
  readonly publish: MqttParts['publish']
  readonly onNews: (item: NewsItem) => void
  readonly log: Log
  readonly metrics?: Registry
  readonly retry?: OutboxParts['retry']
}

export interface OpenedNotices extends AsyncDisposable {
  readonly notices: Notices
  readonly links: Links
  readonly mqtt: MqttNotices
}

/** Notices with all their ways, as the configuration has them. Errors: CONFIG_INVALID, STORE_DAMAGED, FOLDER_UNWRITABLE */
export async function openNotices(parts: OpenNotices): Promise<OpenedNotices> {
  const { config, database, bucket, access, publish, onNews, log, metrics, retry } = parts
  const { allow, caFile, keep, linksFor, smtp } = config.notices
  const keys = await openKeys(config.inbox.folder)
  await using stack = new AsyncDisposableStack()
  const ca = caFile === undefined ? undefined : readAuthority(caFile)
  const guard = stack.use(Guard.open({ allow, ca }))
  const mailer = smtp && stack.use(Mailer.open(smtp, ca))
  const links = new Links({
    database,
    bucket,
    publicUrl: config.publicUrl,
    signedByBucket: config.recordings.signedAddresses,
    forMs: linksFor,
    key: keys.link,
  })
  const { publicUrl } = config
  const push = new Push({
    database,
    people: access.people,
    guard,
    keys,
    // Push services take nothing else; an address that nobody has is better than a wrong one.
    contact: publicUrl?.startsWith('https:') ? publicUrl : 'mailto:sightline@localhost.invalid',
  })
  const mqtt = new MqttNotices({ topicPrefix: config.topicPrefix, publish })
  const ways = new Ways({ guard, links, mailer, push, mqtt, publicUrl, log })
  const notices = stack.use(Notices.open({ database, ways, push, keepMs: keep, onNews, log, metrics, retry }))
  const opened = stack.move()
  return { notices, links, mqtt, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

function readAuthority(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw failure('CERTIFICATE_NOT_FOUND', `Cannot read "notices.caFile" ${file}.`, error)
  }
}
