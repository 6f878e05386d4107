import { writeFile } from 'node:fs'
import mqtt from 'mqtt'

/** What people write today: MQTT.js, and a file for each message. `node rival-subscriber.ts URL FOLDER received|written` */
const [url, folder, acknowledge] = process.argv.slice(2) as [string, string, 'received' | 'written']
const client = mqtt.connect(url, { clientId: 'rival', clean: false })
let count = 0
const file = () => {
  count += 1
  return `${folder}/${count}.jpg`
}
client.on('connect', () => client.subscribe('sightline/#', { qos: 1 }))
if (acknowledge === 'written') {
  // PUBACK goes out when this calls back.
  client.handleMessage = (packet, done) =>
    writeFile(file(), packet.payload, (error) => done(error ?? undefined))
} else {
  client.on('message', (_topic, payload) => {
    writeFile(file(), payload, (error) => {
      if (error) throw error
    })
  })
}
