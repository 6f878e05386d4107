import mqtt from 'mqtt-packet'

/**
 * mqtt-packet (the codec of MQTT.js and aedes, 9.0) remembers for good the two bytes that it writes for each length of a
 * packet below 16 KB. They come out of Buffer's pool, and each keeps a slab of it, 64 KB, in memory: the agent grew by 8 KB a
 * crop, to some hundred MB. Written at the start, one after the other, all lengths share a few slabs. Takes a tenth of a second.
 */
export function shareLengths(): void {
  const nowhere = { write: () => true, cork() {}, uncork() {} } as unknown as NodeJS.WritableStream
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

const LENGTH_MAX = 16_383
/** The topic and its length. */
const HEAD_BYTES = 3
