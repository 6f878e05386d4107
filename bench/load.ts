import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { MqttLink } from '../lib/mqtt/link.ts'
import { type CropMetadata, writeCrop } from '../wire/crop.ts'
import { idMinter } from '../wire/id.ts'
import { cropTopic, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'

/**
 * The load generator of the benchmarks: publishes crops at QoS 1, a window of them in flight, and ends when every
 * one is acknowledged. The crops have the structure of a JPEG and real metadata; the picture in them is noise.
 */

const mintId = idMinter()

/** The smallest JPEG that every decoder takes, as an envelope: its scan is replaced by noise without markers. */
const JPEG_START = Buffer.from('ffd8ffe000104a46494600010100000100010000', 'hex')
const FRAME_HEADER = Buffer.from('ffc0000b080010001001011100', 'hex')
const SCAN_HEADER = Buffer.from('ffda0008010100003f00', 'hex')
const JPEG_END = Buffer.from('ffd9', 'hex')

export function noiseCrop(
  bytes: number,
  site = 'bench',
  device = 'load',
  camera = 'cam',
): { id: string; payload: Buffer } {
  const metadata: CropMetadata = {
    v: 1,
    id: mintId(),
    site,
    device,
    camera,
    capturedAtMs: Date.now(),
    clockSane: true,
    box: [100, 100, 80, 100],
    region: [80, 75, 120, 150],
    score: 0.93,
    model: 'noise',
    frame: [1920, 1080],
  }
  const noise = randomBytes(Math.max(16, bytes - 600)).map((byte) => (byte === 0xff ? 0xfe : byte))
  const payload = writeCrop(Buffer.concat([JPEG_START, FRAME_HEADER, SCAN_HEADER, noise, JPEG_END]), metadata)
  return { id: metadata.id, payload }
}

/** @returns when the first was published (ms since 1970), and how long it took to the last acknowledgement, ms */
export async function publishCrops(
  url: string,
  count: number,
  bytes: number,
  windowMax: number,
): Promise<{ startedAtMs: number; ms: number }> {
  const crops = Array.from({ length: count }, () => noiseCrop(bytes))
  await using link = await MqttLink.open({
    url,
    clientId: `load-${process.pid}`,
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 60,
    connectMsMax: 5000,
  })
  const topic = cropTopic(TOPIC_PREFIX_DEFAULT, { site: 'bench', device: 'load', camera: 'cam' })
  const done = Promise.withResolvers<void>()
  link.once('close', (fault) => done.reject(fault ?? new Error('closed')))
  let sent = 0
  let acknowledged = 0
  const fill = () => {
    while (sent < count && sent - acknowledged < windowMax) {
      const messageId = (sent % 65_535) + 1
      const room = link.publish({
        topic,
        payload: crops[sent]?.payload as Buffer,
        dup: false,
        messageId,
      })
      sent += 1
      if (!room) return
    }
  }
  link.on('drain', fill)
  link.on('puback', () => {
    acknowledged += 1
    if (acknowledged === count) done.resolve()
    else fill()
  })
  const startedAtMs = performance.timeOrigin + performance.now()
  fill()
  await done.promise
  return { startedAtMs, ms: performance.timeOrigin + performance.now() - startedAtMs }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
      count: { type: 'string', default: '5000' },
      bytes: { type: 'string', default: '20000' },
      window: { type: 'string', default: '200' },
    },
  })
  process.stdout.write(
    `${JSON.stringify(await publishCrops(values.url, Number(values.count), Number(values.bytes), Number(values.window)))}\n`,
  )
}
