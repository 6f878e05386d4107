import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addressOf, hasCredentials, kindOf, nameOf, scrub } from '../../device/sources/address.ts'
import { camera } from './playing.ts'

t.test('a name shows neither user, password nor token, however they are written', async (t) => {
  const names = [
    ['rtsp://cam/live', 'rtsp://cam/live'],
    ['rtsp://cam:8554/live@2', 'rtsp://cam:8554/live@2'],
    ['rtsp://[fe80::1]:554/a', 'rtsp://[fe80::1]:554/a'],
    ['rtsp://user:s3cret@cam/live', 'rtsp://cam/live'],
    ['rtsp://user@cam/live', 'rtsp://cam/live'],
    ['rtsp://user:s3@cret@cam/live', 'rtsp://cam/live'],
    ['rtsp://user:s3/cret@cam/live', 'rtsp://cam/live'],
    ['rtsp://user:s3?cr#et@cam/live', 'rtsp://cam/live'],
    ['RTSP://user:s3cret@cam', 'RTSP://cam'],
    ['https://cam/a.m3u8?token=s3cret', 'https://cam/a.m3u8'],
    ['rtmp://cam/live?user=a&pass=s3cret', 'rtmp://cam/live'],
    ['/videos/a@b?.mp4', '/videos/a@b?.mp4'],
  ] as const
  for (const [source, name] of names) t.equal(nameOf(source), name)
})

t.test('what FFmpeg says is told without them', async (t) => {
  t.equal(
    scrub("Opening 'http://user:s3cret@cam:80/a.ts?x=s3cret' for reading, then rtsp://a:s3@cret@b/c failed"),
    "Opening 'http://cam:80/a.ts' for reading, then rtsp://b/c failed",
  )
})

t.test('user and password go into the address, encoded, from the file anew each time', async (t) => {
  const passwordFile = join(t.testdir(), 'password')
  const credentials = { username: 'a b', passwordFile }
  writeFileSync(passwordFile, 'p@ss/:?#\'"%\n')
  t.equal(addressOf('rtsp://cam/live', 'c', credentials), 'rtsp://a%20b:p%40ss%2F%3A%3F%23%27%22%25@cam/live')
  writeFileSync(passwordFile, 'new')
  t.equal(addressOf('rtsp://cam/live', 'c', credentials), 'rtsp://a%20b:new@cam/live')
  t.equal(addressOf('rtsp://x:y@cam/live', 'c', {}), 'rtsp://x:y@cam/live')
})

t.test('what a source is follows from its text', async (t) => {
  for (const [source, kind] of [
    ['testcard', 'testcard'],
    ['rtsps://x', 'stream'],
    ['/dev/video12', 'camera'],
    ['/dev/v4l/by-id/usb-x', 'camera'],
    ['still:/dev/video0', 'still'],
    ['file:///a', 'path'],
    ['photos', 'path'],
  ] as const)
    t.equal(kindOf(source), kind, source)
  t.equal(hasCredentials('rtsp://a:b@c/d'), true)
  t.equal(hasCredentials('rtsp://c/d@e'), false)
})

t.test('settings that contradict each other are refused, and say why', async (t) => {
  const refuses = (source: string, more: Record<string, unknown>, message: RegExp) => {
    t.throws(() => camera(source, more), { code: 'CONFIG_INVALID', message }, JSON.stringify(more))
  }
  refuses('rtsp://x:y@cam', { username: 'a', password: 'b' }, /username.*keep one/)
  refuses('rtsp://cam', { password: 'b' }, /username.*together with a password/)
  refuses('rtsp://cam', { username: 'a', password: 'b', passwordFile: 'c' }, /passwordFile/)
  refuses('/dev/video0', { username: 'a' }, /username.*address/)
  refuses('photos', { watch: true, loop: true }, /loop.*no end/)
  refuses('x', { rotate: 45 }, /rotate/)
  refuses('x', { region: { left: 0.5, top: 0, width: 0.6, height: 1 } }, /region\.width.*inside/)
  refuses('x', { masks: [{ left: 0.5, top: 0 }] }, /masks\.0.*rectangle.*points/)
  refuses(
    'x',
    {
      masks: [
        {
          points: [
            [0, 0],
            [1, 1],
          ],
        },
      ],
    },
    /masks\.0.*at least three corners/,
  )
  refuses('x', { motion: { enabled: true, threshold: 0 } }, /motion\.threshold/)
  t.notMatch(JSON.stringify(camera('x').password), /./)
})
