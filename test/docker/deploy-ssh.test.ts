import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import ssh2, { type ParsedKey } from 'ssh2'
import t from 'tap'
import { fingerprint, judgeHostKey, knownTypes, parseKnownHosts } from '../../deploy/known-hosts.ts'
import { type Outcome, sightline } from '../cli/sightline.ts'
import { freePort } from '../kit/ports.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { FakeEngine } from './fake-engine.ts'

/** `--host ssh://`: who is believed to be who, and what is said when something is missing. OpenSSH: deploy.docker.ts. */

// As "ssh-keygen -H" has written them: jetson.local, and [jetson.local]:2222 with another key.
const HOST = 'AAAAC3NzaC1lZDI1NTE5AAAAIKn8EU/obEw2xqNXE0WNl0sgXIX8zZN9x91jApE1y4UO'
const OTHER = 'AAAAC3NzaC1lZDI1NTE5AAAAIPXB9SSY5DFAobkT9aYgA6aHIb7us4i6Dpg0ShjYGuSP'
const HASHED = `|1|FzFsU9Y+KwHnLZNIT8jRxWFpqSA=|CQZ5OBqy1QYSZsyLBic9bCbjxiE= ssh-ed25519 ${HOST}
|1|km99LJCP6katKqzP82n0j4chVio=|SgEn0mlIQ5uVQlXUOnzOlroGSLs= ssh-ed25519 ${OTHER}
`
const key = (base64: string) => Buffer.from(base64, 'base64')

t.test('known_hosts is read as OpenSSH reads it', async (t) => {
  const judge = (text: string, host: string, base64: string, port = 22) =>
    judgeHostKey(parseKnownHosts(text), { host, port }, key(base64))
  t.equal(judge(HASHED, 'jetson.local', HOST), 'known')
  t.equal(judge(HASHED, 'JETSON.local', HOST), 'known', 'names have no case')
  t.equal(judge(HASHED, 'jetson.local', OTHER), 'changed')
  t.equal(judge(HASHED, 'jetson.local', OTHER, 2222), 'known', 'each port is a machine of its own')
  t.equal(judge(HASHED, 'jetson.local', HOST, 2222), 'changed')
  t.equal(judge(HASHED, 'jetson', HOST), 'unknown')
  const line = (hosts: string, marker = '') =>
    `# a comment\n\n${marker}${hosts} ssh-ed25519 ${HOST} me@there\n`
  t.equal(judge(line('a,10.0.0.7'), '10.0.0.7', HOST), 'known')
  t.equal(judge(line('*.lan,!bad.lan'), 'good.lan', HOST), 'known')
  t.equal(judge(line('*.lan,!bad.lan'), 'bad.lan', HOST), 'unknown')
  t.equal(judge(line('a.b'), 'aXb', HOST), 'unknown', 'a dot is a dot')
  t.equal(judge(line('a', '@revoked '), 'a', HOST), 'revoked')
  t.equal(judge(line('a') + line('a', '@revoked '), 'a', HOST), 'revoked')
  t.equal(judge(line('a', '@cert-authority '), 'a', HOST), 'unknown', 'an authority is no host')
  t.equal(judge(`a ssh-rsa AAAA\n`, 'a', HOST), 'unknown', 'nothing is known of that kind of key')
  t.equal(judge('nonsense\n|1|x ssh-ed25519 y\n', 'a', HOST), 'unknown')
  t.strictSame(knownTypes(parseKnownHosts(HASHED), { host: 'jetson.local', port: 22 }), ['ssh-ed25519'])
  t.equal(fingerprint(key(HOST)), 'SHA256:2l6PfjwZFqwORs6VCXMDThfiZY6AOcu3SVh1EJmBV80', 'as ssh-keygen -l')
})

interface Door {
  readonly host: string
  readonly knownHosts: string
  readonly identity: string
  /** What was run there. */
  readonly commands: string[]
  /** How often somebody has logged in. */
  logins: number
}

const pemKey = () =>
  generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
  }).privateKey
const parsed = (pem: string) => ssh2.utils.parseKey(pem) as ParsedKey

/** An SSH server that lets one key in, and leads `docker system dial-stdio` to a socket. */
async function door(t: Test, socket: string, dial = 'docker system dial-stdio'): Promise<Door> {
  const folder = temporaryFolder(t)
  const [hostKey, userKey] = [pemKey(), pemKey()]
  const port = await freePort()
  const it: Door = {
    host: `ssh://me@127.0.0.1:${port}`,
    knownHosts: join(folder, 'known_hosts'),
    identity: join(folder, 'identity'),
    commands: [],
    logins: 0,
  }
  writeFileSync(
    it.knownHosts,
    `[127.0.0.1]:${port} ssh-rsa ${parsed(hostKey).getPublicSSH().toString('base64')}\n`,
  )
  writeFileSync(it.identity, userKey, { mode: 0o600 })
  const allowed = parsed(userKey)
  const server = new ssh2.Server({ hostKeys: [hostKey] }, (client) => {
    client.on('error', () => {})
    client.on('authentication', (context) => {
      const fits =
        context.method === 'publickey' &&
        context.username === 'me' &&
        context.key.data.equals(allowed.getPublicSSH()) &&
        (context.signature === undefined ||
          allowed.verify(context.blob as Buffer, context.signature, context.hashAlgo) === true)
      if (fits) context.accept()
      else context.reject(['publickey'])
    })
    client.on('ready', () => {
      it.logins += 1
      client.on('session', (accept) => {
        accept().on('exec', (acceptExec, _reject, { command }) => {
          it.commands.push(command)
          const channel = acceptExec()
          const end = (status: number, said = '') => {
            channel.stderr.write(said)
            channel.exit(status)
            channel.end()
          }
          if (command === dial) {
            const engine = connect(socket)
            engine.on('error', () => end(1, `Cannot connect to the Docker daemon at unix://${socket}`))
            engine.on('close', () => channel.close())
            channel.on('close', () => engine.destroy())
            channel.pipe(engine).pipe(channel)
          } else if (command.startsWith('docker')) end(127, 'bash: line 1: docker: command not found')
          else {
            const { status, stdout } = spawnSync('/bin/sh', ['-c', command])
            channel.write(stdout)
            end(status ?? 1)
          }
        })
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.after(() => void server.close())
  return it
}

const ask = (t: Test, it: Door, ...args: string[]): Promise<Outcome> =>
  sightline(t, [
    'deploy',
    'status',
    '--host',
    it.host,
    '--identity',
    it.identity,
    '--known-hosts',
    it.knownHosts,
    ...args,
  ])

t.test('an engine behind SSH is asked over one connection', async (t) => {
  const engine = await FakeEngine.open(t)
  const it = await door(t, engine.socket)
  const outcome = await sightline(t, [
    'deploy',
    'demo',
    ...['--tag', 'sightline-{program}:none', '--host', it.host, '--gallery-port', String(await freePort())],
    ...['--identity', it.identity, '--known-hosts', it.knownHosts],
  ])
  t.match(outcome, {
    code: 'IMAGE_NOT_FOUND',
    stdout: /engine {4}Docker 27\.3\.1 on me@127\.0\.0\.1 port \d+: Ubuntu/,
  })
  t.match(outcome.stdout, /opens {5}0\.0\.0\.0:\d+/, 'a demo elsewhere can be looked at from here')
  t.ok(engine.asked.length >= 8)
  t.equal(it.logins, 1)
  t.ok(
    it.commands.some((command) => command.startsWith('df ')),
    'its disk is looked at there',
  )
  const where = ['--host', it.host, '--identity', it.identity, '--known-hosts', it.knownHosts]
  for (const verb of ['status', 'down'])
    t.match(
      await sightline(t, ['deploy', verb, ...where]),
      { code: 'DEPLOYMENT_NOT_FOUND' },
      'the connection lasts until the answer is there',
    )
})

t.test('a host whose key is not known, or is another, is sent nothing', async (t) => {
  const engine = await FakeEngine.open(t)
  const it = await door(t, engine.socket)
  const { host, port } = { host: '127.0.0.1', port: new URL(it.host).port }
  const nobody = join(temporaryFolder(t), 'known_hosts')
  const unknown = await ask(t, it, '--known-hosts', nobody)
  t.match(unknown, {
    status: 77,
    code: 'HOST_KEY_UNKNOWN',
    sentence: /Unknown host key of .*: ssh-rsa SHA256:.*Log in once with "ssh -p/,
  })
  writeFileSync(nobody, `[${host}]:${port} ssh-rsa ${parsed(pemKey()).getPublicSSH().toString('base64')}\n`)
  const changed = await ask(t, it, '--known-hosts', nobody)
  t.match(changed, {
    status: 77,
    code: 'HOST_KEY_UNKNOWN',
    sentence: /host key .* has changed.*ssh-keygen -R/,
  })
  t.strictSame([it.logins, engine.asked.length], [0, 0])
})

t.test('a key that does not fit, is locked, is none, or is missing', async (t) => {
  const engine = await FakeEngine.open(t)
  const it = await door(t, engine.socket)
  const folder = temporaryFolder(t)
  const file = (name: string, content: string) => {
    writeFileSync(join(folder, name), content, { mode: 0o600 })
    return join(folder, name)
  }
  const locked = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
    publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
  }).privateKey
  for (const [identity, expected] of [
    [
      file('stranger', pemKey()),
      { code: 'ENGINE_DENIED', sentence: /Permission denied by .*stranger.*ssh-copy-id/ },
    ],
    [file('locked', locked), { code: 'ENGINE_DENIED', sentence: /locked with a passphrase.*ssh-add/ }],
    [file('none', 'nothing'), { code: 'CONFIG_INVALID', sentence: /contains no readable private key/ }],
    [join(folder, 'missing'), { code: 'CONFIG_NOT_FOUND', sentence: /cannot be read/ }],
  ] as const)
    t.match(await ask(t, it, '--identity', identity), expected)
  const empty = ['deploy', 'status', '--host', it.host, '--known-hosts', it.knownHosts]
  t.match(await sightline(t, empty, { HOME: folder, SSH_AUTH_SOCK: '' }), {
    code: 'ENGINE_DENIED',
    sentence: /No SSH key found/,
  })
  t.equal(it.logins, 0)
})

t.test('without Docker there, without an engine, and without anybody', async (t) => {
  const engine = await FakeEngine.open(t)
  const bare = await door(t, engine.socket, 'no such command')
  t.match(await ask(t, bare), {
    code: 'ENGINE_UNREACHABLE',
    sentence: /Docker not found on me@127\.0\.0\.1.*Install it/,
  })
  const stopped = await door(t, join(temporaryFolder(t), 'docker.sock'))
  t.match(await ask(t, stopped), {
    code: 'ENGINE_UNREACHABLE',
    sentence: /No Docker engine answers at me@127\.0\.0\.1.*Start it/,
  })
  const nobody = { ...stopped, host: `ssh://me@127.0.0.1:${await freePort()}` }
  t.match(await ask(t, nobody), {
    status: 69,
    code: 'ENGINE_UNREACHABLE',
    sentence: /connection refused/,
  })
})
