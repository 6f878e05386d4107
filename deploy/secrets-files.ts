import { randomBytes, X509Certificate } from 'node:crypto'
import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, sep } from 'node:path'
import { readUsers } from '../lib/access/users.ts'
import { addUser, removeUser } from '../lib/access/users-file.ts'
import { failure, systemCode } from '../lib/errors.ts'
import { makeAuthority, makeServerCertificate } from '../lib/tls/authority.ts'
import { desiredTopic } from '../wire/desired.ts'
import { isName, NAME_RULE } from '../wire/names.ts'
import { commandFilter, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import {
  ADMIN_USER,
  adminUser,
  CONSOLE_USER,
  consoleUser,
  deviceUser,
  edgeName,
  edgeOf,
  type Login,
  newEdge,
  newLogin,
  subscriberUser,
  VIEWER_USER,
  viewerUser,
} from './edge-users.ts'
import { readJoin, type Uplink, writeJoin } from './join-file.ts'
import { newToken, readLooking, writeLooking } from './looking-file.ts'
import { INFERENCE_PORT } from './names.ts'

/**
 * `sightline secrets`: the files that docker/compose.*.yaml mount and read, below one folder. What is made in several
 * files is made beside, flushed, and put in place when it is whole: an interrupted run can be run again.
 */

const SCRIPT = 'docker/secrets.sh'
/** The images' programs run as it. */
const CONTAINER_USER = 1000
/** What a container reads is that user's; all the rest belongs to whom the folder belongs to. */
const OF_CONTAINERS = [
  'cloud/broker',
  'cloud/subscriber',
  'cloud/console',
  'cloud/people',
  'edge/broker',
  'edge/device',
  'inference/server',
]
/** Who may look at the gallery and sign in to the console: one file for both. */
const PEOPLE = 'cloud/people/users.yaml'
/** Nobody comes by to renew a certificate in a cellar. Browsers want those of web pages to be a year old at most. */
const AUTHORITY_DAYS = 7300
const BROKER_DAYS = 3650
const WEB_DAYS = 397
const MQTT_PORT = 8883
const INFERENCE_JOIN = 'invitations/inference.join.yaml'

/** @param hosts under which edges reach the cloud; the first stands in their join files. Errors: FILE_EXISTS, USAGE, NOT_ALLOWED, FOLDER_UNWRITABLE */
export async function cloudSecrets(folder: string, hosts: readonly [string, ...string[]]): Promise<string> {
  refuseExisting(folder, 'cloud')
  refuseExisting(folder, 'authority')
  const people = await inOne(folder, ['authority', 'cloud'], (base) => makeCloud(base, hosts))
  return `Made: ${join(folder, 'cloud')}, and ${join(folder, 'authority')} (keep its ca.key safe).
Start:   docker compose -f docker/compose.cloud.yaml up -d
${sayPeople(hosts[0], people)}Next, for each edge: ${SCRIPT} invite SITE
`
}

/** What the console needs at a cloud of a version without it. Errors: CERTIFICATE_NOT_FOUND, FILE_EXISTS, NOT_ALLOWED, FOLDER_UNWRITABLE, and those of a users file */
export async function consoleSecrets(folder: string): Promise<string> {
  refuseExisting(folder, 'cloud/console')
  const brokerUsers = join(folder, 'cloud/broker/users.yaml')
  const known = usersOf(folder, brokerUsers)
  const hosts = namesIn(join(folder, 'cloud/subscriber/web.pem'))
  const names = ['cloud/people', 'cloud/console.env', 'cloud/console'] // the last one says that all are there
  const { admin } = await inOne(folder, names, async (base) => {
    const login = await makeConsole(base, join(folder, 'authority'), hosts)
    mkdirSync(join(base, 'cloud/people'))
    write(join(base, PEOPLE), readFileSync(join(folder, 'cloud/subscriber/users.yaml')))
    const admin = await newLogin()
    await addUser(join(base, PEOPLE), adminUser(admin.hash))
    write(join(base, 'cloud/console.env'), readFileSync(join(folder, 'cloud/subscriber.env')))
    // Of a run that was interrupted here.
    if (known.some(({ name }) => name === CONSOLE_USER)) await removeUser(brokerUsers, CONSOLE_USER)
    await addUser(brokerUsers, consoleUser(login.hash))
    return { admin: admin.password }
  })
  return `Made: ${join(folder, 'cloud/console')}, and ${join(folder, 'cloud/people')}: who may look is in ${join(folder, PEOPLE)} from now on.
Start:   docker compose -f docker/compose.cloud.yaml up -d
Console: https://${hosts.find((host) => host !== 'localhost') ?? 'localhost'}:8444/ user ${ADMIN_USER}, password ${admin} (shown only once)
`
}

/** Errors: CERTIFICATE_NOT_FOUND, USER_EXISTS, NAME_INVALID, FILE_EXISTS, NOT_ALLOWED, FOLDER_UNWRITABLE, and those of a users file */
export async function inviteEdge(folder: string, site: string): Promise<string> {
  begin(folder)
  checkName(site)
  const file = join(folder, 'invitations', `${site}.join.yaml`)
  await invite(folder, site, file)
  return `Made: ${file}. Copy it to one edge, and delete it here:
  scp ${file} USER@EDGE:
There: ${SCRIPT} edge ~/${site}.join.yaml DEVICE
`
}

/** Errors: USER_UNKNOWN, NOT_ALLOWED, FOLDER_UNWRITABLE, and those of a users file */
export async function removeEdge(folder: string, site: string): Promise<string> {
  begin(folder)
  const users = join(folder, 'cloud/broker/users.yaml')
  const { name } = edgeOf(site, readUsers(users).users)
  await removeUser(users, name)
  rmSync(join(folder, 'invitations', `${site}.join.yaml`), { force: true })
  return `The edge of the site "${site}" is removed: its connection ends within seconds.\n`
}

/** Errors: FILE_EXISTS, NAME_INVALID, NOT_ALLOWED, FOLDER_UNWRITABLE, and those of a join file */
export async function edgeSecrets(folder: string, joinFile: string, device: string): Promise<string> {
  refuseExisting(folder, 'edge')
  checkName(device)
  const uplink = readJoin(joinFile)
  await inOne(folder, ['edge'], (base) => makeEdge(base, uplink, device))
  return `Made: ${join(folder, 'edge')}. The join file is no longer needed: rm ${joinFile}
Start: docker compose -f docker/compose.edge.yaml up -d
`
}

/** Errors: FILE_EXISTS, NOT_ALLOWED, FOLDER_UNWRITABLE */
export async function demoSecrets(folder: string): Promise<string> {
  refuseExisting(folder, 'demo')
  const people = await inOne(folder, ['demo'], async (base) => {
    const demo = join(base, 'demo')
    const made = await makeCloud(demo, ['cloud-broker', 'localhost'])
    const file = join(base, 'demo.join.yaml')
    await invite(demo, 'demo', file)
    await makeEdge(demo, readJoin(file), 'testcard')
    return made
  })
  return `Made: ${join(folder, 'demo')}.
Start:   docker compose -f docker/compose.demo.yaml up -d
${sayPeople('localhost', people)}`
}

/** @param hosts under which edges reach it; the first stands in the join file. Errors: FILE_EXISTS, NOT_ALLOWED, FOLDER_UNWRITABLE */
export async function inferenceSecrets(
  folder: string,
  hosts: readonly [string, ...string[]],
): Promise<string> {
  refuseExisting(folder, 'inference')
  refuseExisting(folder, INFERENCE_JOIN)
  await inOne(folder, ['inference'], async (base) => {
    const [authority, server] = [join(base, 'inference/authority'), join(base, 'inference/server')]
    mkdirSync(server, { recursive: true })
    await makeAuthority(authority, 'Sightline inference', { days: AUTHORITY_DAYS })
    const names = ['inference', 'localhost', ...hosts]
    await serverCertificates(authority)('inference', names, BROKER_DAYS, join(server, 'server'))
    write(join(server, 'tokens'), `# One a line. Who shows one of them may use this server.\n${newToken()}\n`)
  })
  const file = join(folder, INFERENCE_JOIN)
  const token = readFileSync(join(folder, 'inference/server/tokens'), 'utf8').trim().split('\n').at(-1)
  const ca = readFileSync(join(folder, 'inference/authority/ca.pem'), 'utf8')
  mkdirSync(join(file, '..'), { recursive: true })
  writeLooking(file, {
    addresses: [`https://${bracketed(hosts[0])}:${INFERENCE_PORT}`],
    token: token ?? '',
    ca,
  })
  const { uid, gid } = statSync(folder)
  for (const path of [join(file, '..'), file]) chownSync(path, uid, gid)
  return `Made: ${join(folder, 'inference')}, and ${file}.
Start: docker compose -f docker/compose.inference.yaml up -d
Next, for each edge: scp ${file} USER@EDGE: and there ${SCRIPT} servers ~/inference.join.yaml
`
}

const LOOKING_VARIABLE = /^SIGHTLINE_DETECT__(RUNTIME|SERVERS__)/

/** Of an edge whose frames inference servers look at. Errors: CERTIFICATE_NOT_FOUND, NOT_ALLOWED, FOLDER_UNWRITABLE, and those of readLooking */
export function lookingSecrets(folder: string, files: readonly string[]): string {
  const [agent, variables] = [join(folder, 'edge/device'), join(folder, 'edge/device.env')]
  if (!existsSync(agent))
    throw failure('CERTIFICATE_NOT_FOUND', `${agent} not found: run ${SCRIPT} edge FILE DEVICE first.`)
  begin(folder)
  const { addresses, token, ca } = readLooking(files)
  const [tokenFile, caFile] = ['inference.token', 'inference-ca.pem']
  for (const [name, content] of [
    [tokenFile, `${token}\n`],
    [caFile, ca],
  ] as const) {
    const path = join(agent, name)
    write(path, content)
    chownSync(path, CONTAINER_USER, CONTAINER_USER)
    flush(path)
  }
  const had = readFileSync(variables, 'utf8').split('\n')
  const set = [
    'RUNTIME=remote',
    `SERVERS__ADDRESSES=[${addresses.join(', ')}]`,
    `SERVERS__TOKEN_FILE=/run/secrets/${tokenFile}`,
    `SERVERS__CA_FILE=/run/secrets/${caFile}`,
  ].map((it) => `SIGHTLINE_DETECT__${it}`)
  // What makes the login whole stays the last line: a file that was cut is refused.
  const text = [...set, ...had.filter((line) => !LOOKING_VARIABLE.test(line))].join('\n')
  const { uid, gid } = statSync(variables)
  write(`${variables}.new`, text)
  chownSync(`${variables}.new`, uid, gid)
  flush(`${variables}.new`)
  renameSync(`${variables}.new`, variables)
  flush(join(folder, 'edge'))
  return `Made: ${join(agent, tokenFile)} and ${join(agent, caFile)}; ${variables} names ${addresses.join(', ')}.
Start: docker compose -f docker/compose.edge.yaml up -d
`
}

/** Passwords of those who may look. */
interface People {
  readonly admin: string
  readonly viewer: string
}

const sayPeople = (
  host: string,
  { admin, viewer }: People,
) => `Console: https://${host}:8444/ user ${ADMIN_USER}, password ${admin} (shown only once)
Gallery: https://${host}:8443/ user ${VIEWER_USER}, password ${viewer} (shown only once)
`

async function makeCloud(base: string, hosts: readonly [string, ...string[]]): Promise<People> {
  const authority = join(base, 'authority')
  const broker = join(base, 'cloud/broker')
  const subscriber = join(base, 'cloud/subscriber')
  for (const folder of [broker, subscriber, join(base, PEOPLE, '..')]) mkdirSync(folder, { recursive: true })
  await makeAuthority(authority, 'Sightline', { days: AUTHORITY_DAYS })
  const server = serverCertificates(authority)
  await server('broker', ['cloud-broker', ...hosts], BROKER_DAYS, join(broker, 'server'))
  await server('web', ['localhost', ...hosts], WEB_DAYS, join(subscriber, 'web'))
  const login = await newLogin()
  await addUser(join(broker, 'users.yaml'), subscriberUser(login.hash))
  write(join(subscriber, 'password'), `${login.password}\n`)
  const console = await makeConsole(base, authority, hosts)
  await addUser(join(broker, 'users.yaml'), consoleUser(console.hash))
  const [admin, viewer] = [await newLogin(), await newLogin()]
  await addUser(join(base, PEOPLE), adminUser(admin.hash))
  await addUser(join(base, PEOPLE), viewerUser(viewer.hash))
  write(join(subscriber, 'ca.pem'), readFileSync(join(authority, 'ca.pem')))
  const [access, secret] = [randomBytes(10).toString('hex'), randomBytes(20).toString('hex')]
  write(join(base, 'cloud/s3.env'), `ROOT_ACCESS_KEY_ID=${access}\nROOT_SECRET_ACCESS_KEY=${secret}\n`)
  for (const name of ['subscriber', 'console'])
    write(join(base, `cloud/${name}.env`), `AWS_ACCESS_KEY_ID=${access}\nAWS_SECRET_ACCESS_KEY=${secret}\n`)
  write(join(authority, 'address'), `mqtts://${bracketed(hosts[0])}:${MQTT_PORT}\n`)
  return { admin: admin.password, viewer: viewer.password }
}

const serverCertificates =
  (authority: string) => async (name: string, names: readonly string[], days: number, to: string) =>
    move(await makeServerCertificate(authority, name, [...new Set(names)], { days }), to)

/** @returns its user's login at the broker */
async function makeConsole(base: string, authority: string, hosts: readonly string[]): Promise<Login> {
  const folder = join(base, 'cloud/console')
  mkdirSync(folder, { recursive: true })
  await serverCertificates(authority)('console', ['localhost', ...hosts], WEB_DAYS, join(folder, 'web'))
  const login = await newLogin()
  write(join(folder, 'password'), `${login.password}\n`)
  write(join(folder, 'ca.pem'), readFileSync(join(authority, 'ca.pem')))
  return login
}

/** The hosts that a certificate is for. */
function namesIn(cert: string): string[] {
  const { subjectAltName = '' } = new X509Certificate(readFileSync(cert))
  return subjectAltName.split(', ').flatMap((it) => /^(?:DNS|IP Address):(\S+)$/.exec(it)?.[1] ?? [])
}

async function invite(base: string, site: string, file: string): Promise<void> {
  const users = join(base, 'cloud/broker/users.yaml')
  const { user, uplink } = await newEdge(site, usersOf(base, users), readCloud(base), `${SCRIPT} remove`)
  mkdirSync(join(file, '..'), { recursive: true })
  writeJoin(file, uplink) // first: a user whose password nobody has would be in the way
  try {
    await addUser(users, user)
  } catch (error) {
    rmSync(file)
    throw error
  }
  const { uid, gid } = statSync(base)
  for (const path of [join(file, '..'), file]) chownSync(path, uid, gid)
}

function usersOf(base: string, users: string) {
  if (!existsSync(join(base, 'authority')))
    throw failure(
      'CERTIFICATE_NOT_FOUND',
      `${join(base, 'authority')} not found: run ${SCRIPT} cloud HOST first.`,
    )
  return readUsers(users).users
}

function readCloud(base: string): Pick<Uplink, 'url' | 'ca'> {
  const authority = join(base, 'authority')
  const url = readFileSync(join(authority, 'address'), 'utf8')
  if (!/^mqtts:\/\/\S+\n$/.test(url))
    throw failure(
      'CONFIG_INVALID',
      `${join(authority, 'address')} is truncated: it must hold the cloud's address and a line end. Write mqtts://HOST:${MQTT_PORT} there.`,
    )
  return { url: url.trimEnd(), ca: readFileSync(join(authority, 'ca.pem'), 'utf8') }
}

async function makeEdge(base: string, uplink: Uplink, device: string): Promise<void> {
  const { url, site, username, password, ca } = uplink
  if (site === undefined || ca === undefined)
    throw failure(
      'CONFIG_INVALID',
      'The join file is from an earlier version, with one user for all edges. Create one for this edge: sightline deploy invite SITE, at the cloud.',
    )
  checkName(site)
  const authority = join(base, 'edge/authority')
  const [broker, agent] = [join(base, 'edge/broker'), join(base, 'edge/device')]
  for (const folder of [broker, agent]) mkdirSync(folder, { recursive: true })
  await makeAuthority(authority, 'Sightline', { days: AUTHORITY_DAYS })
  const hosts = ['edge-broker', 'localhost']
  move(await makeServerCertificate(authority, 'broker', hosts, { days: BROKER_DAYS }), join(broker, 'server'))
  const login = await newLogin()
  await addUser(join(broker, 'users.yaml'), deviceUser(device, { site, device }, login.hash))
  write(join(agent, 'password'), `${login.password}\n`)
  write(join(agent, 'ca.pem'), readFileSync(join(authority, 'ca.pem')))
  write(join(broker, 'cloud-ca.pem'), ca)
  write(join(broker, 'bridge.password'), `${password}\n`)
  const variables = (pairs: Record<string, string>) =>
    Object.entries(pairs)
      .map(([name, value]) => `SIGHTLINE_${name}=${value}\n`)
      .join('')
  write(
    join(base, 'edge/broker.env'),
    variables({
      NAME: edgeName(site),
      BRIDGES__0__URL: url,
      // By their places in docker/edge/broker.yaml.
      BRIDGES__0__TOPICS__0__FILTER: commandFilter(TOPIC_PREFIX_DEFAULT, { site, device: '+' }),
      BRIDGES__0__TOPICS__10__FILTER: desiredTopic(TOPIC_PREFIX_DEFAULT, { site, device: '+' }),
      BRIDGES__0__USERNAME: username,
    }),
  )
  write(join(base, 'edge/device.env'), variables({ SITE: site, DEVICE: device, BROKER__USERNAME: device }))
}

/** Makes these folders of a base that is beside, and puts them in place. */
async function inOne<T>(
  folder: string,
  names: readonly string[],
  make: (base: string) => Promise<T>,
): Promise<T> {
  begin(folder)
  const base = join(folder, '.new')
  try {
    rmSync(base, { recursive: true, force: true }) // of a run that was interrupted
    mkdirSync(base)
  } catch (error) {
    throw unwritable(folder, error)
  }
  const made = await make(base)
  handOver(base, statSync(folder))
  for (const name of names) renameSync(join(base, name), join(folder, name))
  rmSync(base, { recursive: true })
  flush(folder)
  return made
}

/** Errors: NOT_ALLOWED, FOLDER_UNWRITABLE */
function begin(folder: string): void {
  const uid = process.getuid?.()
  if (uid !== 0 && uid !== CONTAINER_USER)
    throw failure(
      'NOT_ALLOWED',
      `The images run as user ${CONTAINER_USER}, and you are ${uid}: run this as root, or with ${SCRIPT} in an image.`,
    )
  process.umask(0o077)
  try {
    mkdirSync(folder, { recursive: true })
  } catch (error) {
    throw unwritable(folder, error)
  }
}

/** Gives each file to whom it is for, and flushes it. */
function handOver(base: string, owner: { readonly uid: number; readonly gid: number }): void {
  for (const name of readdirSync(base, { recursive: true }) as string[]) {
    const path = join(base, name)
    const forContainers = OF_CONTAINERS.some((it) => `${sep}${name}${sep}`.includes(`${sep}${it}${sep}`))
    if (forContainers) chownSync(path, CONTAINER_USER, CONTAINER_USER)
    else chownSync(path, owner.uid, owner.gid)
    flush(path)
  }
}

function flush(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

const write = (file: string, content: string | Buffer) => writeFileSync(file, content, { mode: 0o600 })

function move({ cert, key }: { readonly cert: string; readonly key: string }, to: string): void {
  renameSync(cert, `${to}.pem`)
  renameSync(key, `${to}.key`)
}

function refuseExisting(folder: string, name: string): void {
  if (existsSync(join(folder, name)))
    throw failure(
      'FILE_EXISTS',
      `${join(folder, name)} already exists; nothing is changed. To start over, move it (what was made from it then stops working).`,
    )
}

/** Errors: NAME_INVALID */
function checkName(name: string): void {
  if (!isName(name)) throw failure('NAME_INVALID', `Invalid name ${JSON.stringify(name)}: use ${NAME_RULE}.`)
}

const unwritable = (folder: string, error: unknown) =>
  systemCode(error) === 'ENOSPC'
    ? failure('DISK_FULL', `The disk of ${folder} is full.`, error)
    : failure('FOLDER_UNWRITABLE', `Cannot write to ${folder}. Use a folder that you own.`, error)

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host)
