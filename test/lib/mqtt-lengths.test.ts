import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import mqtt from 'mqtt-packet'
import t from 'tap'
import { shareLengths } from '../../lib/mqtt/lengths.ts'
import { until } from '../kit/wait.ts'

const nowhere = { write: () => true, cork() {}, uncork() {} } as never

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

t.test(
  'the codec keeps no Buffer for each number: a program that speaks MQTT is 11 MB smaller',
  async (t) => {
    const heap = () => {
      collect()
      return process.memoryUsage().heapUsed
    }
    await import('../../lib/mqtt/link.ts') // the codec's other user, which has no lengths to share
    const before = heap()
    mqtt.writeToStream({ cmd: 'puback', messageId: 1 }, nowhere)
    t.ok(heap() - before < 1e6, 'the first packet')
    shareLengths()
    t.ok(heap() - before < 5e6, 'all lengths')
  },
)

t.test('packets of ever new lengths leave nothing behind', async (t) => {
  const start = performance.now()
  shareLengths()
  t.ok(performance.now() - start < 2000)
  const before = process.memoryUsage().arrayBuffers
  const others: Buffer[] = []
  for (let bytes = 1000; bytes < 4000; bytes += 1) {
    // Something else out of the pool in between, as in a program at work.
    others[0] = Buffer.allocUnsafe(30_000)
    const payload = Buffer.alloc(bytes)
    const packet = { cmd: 'publish', topic: 'a', payload, qos: 0, dup: false, retain: false } as const
    mqtt.writeToStream(packet, nowhere)
    if (bytes % 100 === 0) await new Promise(setImmediate)
  }
  // Without it: 1,500 slabs of the pool, 100 MB. What is collected is given back beside the program, a moment later.
  const grown = () => {
    collect()
    return process.memoryUsage().arrayBuffers - before
  }
  await until('less than 20 MB more', () => grown() < 20e6, 10_000)
})
