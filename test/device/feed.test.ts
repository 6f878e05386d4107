import t from 'tap'
import { PushedBytes } from '../../device/listen/pushed-bytes.ts'
import { avcFrame, opusFrame } from '../../device/listen/whip-flv.ts'
import { matroskaFrame } from '../../device/listen/whip-matroska.ts'
import { Feed } from '../../device/sources/feed.ts'

const PICTURE = Buffer.alloc(50, 1)
const SOUND = Buffer.alloc(20, 2)

const FORMATS = {
  flv: { picture: avcFrame(PICTURE, true, 40), sound: opusFrame(SOUND, 20) },
  matroska: {
    picture: matroskaFrame('video', PICTURE, { isKey: true, atMs: 40 }),
    sound: matroskaFrame('audio', SOUND, { isKey: true, atMs: 20 }),
  },
} as const

for (const format of ['flv', 'matroska'] as const)
  t.test(
    `a picture of what is pushed is read as soon as it has come, its sound with it: ${format}`,
    async (t) => {
      const bytes = new PushedBytes(format)
      using feed = new Feed(bytes)
      let isReady = false
      const ready = feed.ready().then(() => {
        isReady = true
      })
      bytes.push(FORMATS[format].sound)
      await new Promise((resolve) => setImmediate(resolve))
      t.equal(isReady, false, 'nothing is there to be seen')
      bytes.push(FORMATS[format].picture)
      await ready
      t.equal(bytes.bytes, 0, 'all of it is taken')
      bytes.close()
    },
  )
