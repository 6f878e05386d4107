import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { listStreams } from '../../commands/streams/list.ts'
import { streams as command } from '../../commands/streams/streams.ts'
import { changeStream, newStreamKey } from '../../device/listen/change.ts'
import { type SeenStream, seenFileOf } from '../../device/listen/seen.ts'
import { hashOfKey, readStreams } from '../../device/listen/streams-file.ts'
import { temporaryFolder } from '../kit/programs.ts'

const CLI = resolve(import.meta.dirname, '..', '..', 'cli.ts')

/** As a process, for its exit status and standard output. Without the launcher: half the time. */
function streams(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'streams', ...args], {
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

t.test('added, listed, rotated, deactivated, activated, removed; the key alone on stdout', async (t) => {
  const file = join(temporaryFolder(t), 'streams.yaml')
  const only = () => readStreams(file)[0]
  const added = streams(
    'add',
    file,
    'door',
    '--owner',
    'anna',
    '--take-over',
    '--server',
    'rtmps://home/live',
  )
  t.match(added, { status: 0, stderr: /^Stream door added\. .*streams\.yaml\)$/m })
  t.match(added.stderr, /Server +rtmps:\/\/home\/live$/m)
  t.match(added.stderr, /-f flv rtmps:\/\/home\/live\/KEY$/m)
  const key = added.stdout.trim()
  t.match(added.stdout, /^[\w-]{22}\n$/, '128 bits and nothing else')
  t.notMatch(added.stderr, key)
  t.notMatch(readFileSync(file, 'utf8'), key)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.match(only(), { name: 'door', owner: 'anna', active: true, takeOver: true, keyHash: hashOfKey(key) })

  const listed = streams('list', file)
  t.match(listed, { status: 0, stderr: '' })
  t.match(listed.stdout, /^door +anna +active +never +- +- +- +- +-$/m)

  const rotated = streams('rotate', file, 'door')
  t.match(rotated, { status: 0, stdout: /^[\w-]{22}\n$/, stderr: /has a new key\. .* sent away/ })
  t.match(rotated.stderr, /Server +rtmp:\/\/\S+\/live$/m)
  t.not(rotated.stdout.trim(), key)
  t.equal(only()?.keyHash, hashOfKey(rotated.stdout.trim()))
  t.equal(only()?.owner, 'anna', 'all else stays')

  const { args: said, restore } = t.capture(process.stderr, 'write')
  const change = async (verb: string) => {
    t.equal(await command.run([verb, file, 'door']), 0)
    return said().join()
  }
  t.match(await change('deactivate'), /^Stream door is deactivated\. .* sent away\. \(.*streams\.yaml\)\n$/)
  t.equal(only()?.active, false)
  t.match(listStreams(file, false, Date.now()), /^door +anna +deactivated /m)
  t.match(await change('activate'), /^Stream door is active\. /)
  t.equal(only()?.active, true)
  t.match(await change('remove'), /^Stream door removed\. /)
  restore()
  t.strictSame(readStreams(file), [])
  t.match(listStreams(file, false, Date.now()), /streams\.yaml contains no streams\.\n$/)
  t.strictSame(readdirSync(join(file, '..')), ['streams.yaml'])
})

t.test('what is wrong says so, with its exit status, and changes nothing', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'streams.yaml')
  await changeStream({ file }, 'door', { do: 'add', keyHash: hashOfKey(newStreamKey()) })
  const written = readFileSync(file, 'utf8')
  for (const [args, code, message] of [
    [[], 'USAGE', /^Usage \(more: sightline streams --help\):\n {2}sightline streams add FILE CAMERA/],
    [['constructor', file, 'door'], 'USAGE', /^Usage/],
    [['add', file], 'USAGE', /^Usage/],
    [['list', file, 'door'], 'USAGE', /^Usage/],
    [['remove', file, 'door', 'yard'], 'USAGE', /^Usage/],
    [['add', file, 'the door'], 'USAGE', /CAMERA "the door" must be a name: /],
    [['add', file, '../door'], 'USAGE', /must be a name: /],
    [['list', file, '--owner', 'anna'], 'USAGE', /"streams list" does not take --owner/],
    [['remove', file, 'door', '--json'], 'USAGE', /"streams remove" does not take --json/],
    [['rotate', file, 'door', '--take-over'], 'USAGE', /"streams rotate" does not take --take-over/],
    [['add', file, 'door'], 'STREAM_EXISTS', /"door" already exists in .*rotate its key/],
    [['add', file, 'yard', '--owner', 'an:na'], 'CONFIG_INVALID', /owner.*a name without colons/],
    [['rotate', file, 'yard'], 'STREAM_UNKNOWN', /"yard" not found in .*sightline streams list/],
    [['deactivate', file, 'yard'], 'STREAM_UNKNOWN', /"yard" not found/],
    [['remove', join(folder, 'other.yaml'), 'yard'], 'CONFIG_NOT_FOUND', /not found\. Create it with: /],
    [['add', join(folder, 'no', 'streams.yaml'), 'yard'], 'FOLDER_UNWRITABLE', /no/],
  ] as const)
    await t.rejects(command.run([...args]), { code, message }, args.join(' '))
  for (const [args, status, stderr] of [
    [['rotate', file, 'yard'], 67, /^STREAM_UNKNOWN: Stream "yard" not found/m],
    [['list', join(folder, 'other.yaml')], 66, /^CONFIG_NOT_FOUND: Streams file .* not found/m],
  ] as const)
    t.match(streams(...args), { status, stderr, stdout: '' }, args.join(' '))
  t.equal(readFileSync(file, 'utf8'), written)
  writeFileSync(file, written.replace(/keyHash: .*/, 'keyHash: a-key-by-mistake'))
  await t.rejects(command.run(['rotate', file, 'door']), {
    code: 'CONFIG_INVALID',
    message: /must be the SHA-256 hash of a key/,
  })
  t.strictSame(readdirSync(folder), ['streams.yaml'])
})

t.test(
  'the list says who publishes, and who did last; not as live what nobody has looked at since',
  async (t) => {
    const file = join(temporaryFolder(t), 'streams.yaml')
    for (const name of ['door', 'yard', 'new'])
      await changeStream({ file }, name, { do: 'add', keyHash: hashOfKey(newStreamKey()) })
    const nowMs = Date.now()
    const live: SeenStream['live'] = {
      by: 'rtmp',
      sinceMs: nowMs - 3 * 60_000,
      bitsPerSecond: 2_400_400,
      codec: 'h264',
      audio: 'aac',
      frame: [1280, 720],
    }
    const write = (atMs: number) =>
      writeFileSync(
        seenFileOf(file),
        JSON.stringify({
          v: 1,
          atMs,
          streams: {
            door: { lastUsedMs: nowMs - 3 * 60_000, from: '192.0.2.7', live },
            yard: { lastUsedMs: nowMs - 2 * 86_400_000, from: '\u001b[31mevil\nrow', live: null },
          },
        }),
      )
    write(nowMs - 2000)
    const table = listStreams(file, false, nowMs)
    t.match(table, /^name +owner +key +last used +from +live since +bitrate +codec +size$/m)
    t.match(
      table,
      /^door +- +active +3 min ago +192\.0\.2\.7 +3 min \(rtmp\) +2400 kbit\/s +h264 \+ aac +1280 x 720$/m,
    )
    t.match(table, /^yard +- +active +2 d(ays)? ago .*evil.* - +- +- +-$/m)
    t.match(table, /^new +- +active +never +- +- +- +- +-$/m)
    t.notMatch(table, '\u001b')
    t.equal(table.trimEnd().split('\n').length, 4, 'a line each')
    const lines = listStreams(file, true, nowMs)
    t.notMatch(lines, /keyHash|[0-9a-f]{64}/)
    const [door, , fresh] = lines
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    t.match(door, { name: 'door', owner: undefined, active: true, from: '192.0.2.7', live })
    t.match(fresh, { name: 'new', lastUsedMs: null, from: null, live: null })

    write(nowMs - 60_000)
    t.match(listStreams(file, false, nowMs), /^door +- +active +3 min ago +192\.0\.2\.7 +- +- +- +-$/m)
    writeFileSync(seenFileOf(file), 'nothing of ours')
    t.match(listStreams(file, false, nowMs), /^door +- +active +never /m)
  },
)
