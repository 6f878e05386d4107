import mqtt from 'mqtt-packet'

/**
 * mqtt-packet (the codec of MQTT.js and aedes, 9.0) remembers for good the two bytes that it writes for each length of a
 * packet below 16 KB. They come out of Buffer's pool, and each keeps a slab of it, 64 KB, in memory: the agent grew by 8 KB a
 * crop, to some hundred MB. Written at the start, one after the other, all lengths share a few slabs. Takes 30 ms.
 */
export function shareLengths(): void {
  withoutNumbers()
  const nowhere = { write: () => true } as unknown as NodeJS.WritableStream
  const payload = Buffer.alloc(LENGTH_MAX)
  for (let bytes = 0; bytes <= LENGTH_MAX - HEAD_BYTES; bytes += 1)
    mqtt.writeToStream(
      {
        cmd: 'publish',
        topic: 'a',
        payload: payload.subarray(0, bytes),
        qos: 0,
        dup: false,
        retain: false,
      },
      nowhere as never,
    )
}

/**
 * mqtt-packet also makes all 65,536 numbers of two bytes with the first packet, each a Buffer of its own: 11 MB of V8's heap
 * and a dozen of its collections, at the start of a program. Making a number when it is written costs no more than looking
 * it up (0.4 µs a packet either way).
 */
export function withoutNumbers(): void {
  mqtt.writeToStream.cacheNumbers = false
}

const LENGTH_MAX = 16_383
/** The topic and its length. */
const HEAD_BYTES = 3
