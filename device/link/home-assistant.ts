import { COMMAND_RATE_MAX, type CommandName } from '../../wire/commands.ts'
import { CROP, keptTopic } from '../../wire/kinds.ts'
import {
  commandTopic,
  discoveryId,
  discoveryTopic,
  snapshotTopic,
  stateTopic,
  statusTopic,
} from '../../wire/topics.ts'
import type { DeviceConfig } from '../config.ts'

/**
 * What Home Assistant is to know of this device: one retained message, by which it makes the device and, of each camera,
 * its pictures, sensors and controls (device discovery of its MQTT integration; the keys are those of its documentation,
 * not abbreviated). Pure.
 */
export function discovery(
  config: Pick<
    DeviceConfig,
    'site' | 'device' | 'topicPrefix' | 'cameras' | 'remote' | 'homeAssistant' | 'detect'
  >,
  model: string,
): { readonly topic: string; readonly payload: string } {
  const { site, device, topicPrefix, cameras, homeAssistant, remote } = config
  const id = discoveryId(config)
  const components = cameras.flatMap(({ name }) => [
    ...looks(config, name),
    ...(remote.enabled ? controls(config, name) : []),
  ])
  const payload = {
    device: {
      identifiers: [id],
      name: `Sightline ${site} ${device}`,
      manufacturer: 'Sightline',
      model: `Capture agent, ${model}`,
    },
    origin: { name: 'Sightline' },
    availability_topic: statusTopic(topicPrefix, { site, device }),
    availability_template: '{{ value_json.state }}',
    payload_available: 'online',
    payload_not_available: 'offline',
    qos: 1,
    components: Object.fromEntries(components),
  }
  return { topic: discoveryTopic(homeAssistant.prefix, config), payload: JSON.stringify(payload) }
}

type Component = readonly [key: string, options: Readonly<Record<string, unknown>>]

/** What there is to see. */
function looks(config: Parameters<typeof discovery>[0], camera: string): Component[] {
  const address = { ...config, camera }
  const make = maker(config, camera)
  const state_topic = stateTopic(config.topicPrefix, address)
  return [
    make('face', 'image', {
      name: `${camera} last face`,
      image_topic: keptTopic(config.topicPrefix, CROP, address),
      content_type: CROP.mediaType,
    }),
    make('crops', 'sensor', {
      name: `${camera} faces`,
      icon: 'mdi:face-recognition',
      state_topic,
      value_template: '{{ value_json.crops }}',
      state_class: 'total_increasing',
    }),
    make('present', 'sensor', {
      name: `${camera} faces present`,
      icon: 'mdi:account-eye',
      state_topic,
      // "None" resets it to unknown: nobody looks while the camera is paused or down.
      value_template: '{{ value_json.present.faces if value_json.present else None }}',
      state_class: 'measurement',
      json_attributes_topic: state_topic,
      json_attributes_template: '{{ (value_json.present.zones if value_json.present else {}) | tojson }}',
    }),
    make('view', 'sensor', {
      name: `${camera} view`,
      icon: 'mdi:cctv',
      device_class: 'enum',
      options: ['clear', 'covered', 'turned', 'frozen'],
      entity_category: 'diagnostic',
      state_topic,
      value_template: '{{ value_json.view.is if value_json.view else None }}',
    }),
    ...(config.detect.servers ? [looker(make, camera, state_topic)] : []),
    make('seen', 'sensor', {
      name: `${camera} last seen`,
      device_class: 'timestamp',
      state_topic,
      value_template:
        '{{ (value_json.lastCrop.capturedAtMs / 1000) | as_datetime if value_json.lastCrop else None }}',
    }),
    make('state', 'sensor', {
      name: `${camera} state`,
      device_class: 'enum',
      options: ['opening', 'up', 'waiting', 'down', 'ended'],
      entity_category: 'diagnostic',
      state_topic,
      value_template: '{{ value_json.state }}',
      json_attributes_topic: state_topic,
      json_attributes_template: "{{ {'why': value_json.why} | tojson }}",
    }),
  ]
}

/** Of a device with inference servers: who looks for faces. */
const looker = (make: ReturnType<typeof maker>, camera: string, state_topic: string): Component =>
  make('detect', 'sensor', {
    name: `${camera} detector`,
    icon: 'mdi:server-network',
    device_class: 'enum',
    options: ['local', 'remote', 'none'],
    entity_category: 'diagnostic',
    state_topic,
    value_template: '{{ value_json.detect.on if value_json.detect else None }}',
    json_attributes_topic: state_topic,
    json_attributes_template: "{{ {'why': value_json.detect.why if value_json.detect else None} | tojson }}",
  })

/** What there is to set. */
function controls(config: Parameters<typeof discovery>[0], camera: string): Component[] {
  const address = { ...config, camera }
  const make = maker(config, camera)
  const state_topic = stateTopic(config.topicPrefix, address)
  const set = (command: CommandName) => commandTopic(config.topicPrefix, address, command)
  return [
    make('paused', 'switch', {
      name: `${camera} paused`,
      icon: 'mdi:eye-off',
      command_topic: set('pause'),
      payload_on: 'ON',
      payload_off: 'OFF',
      state_topic,
      value_template: "{{ 'ON' if value_json.paused else 'OFF' }}",
      state_on: 'ON',
      state_off: 'OFF',
    }),
    make('threshold', 'number', {
      name: `${camera} threshold`,
      entity_category: 'config',
      icon: 'mdi:tune',
      command_topic: set('threshold'),
      state_topic,
      value_template: '{{ value_json.scoreMin }}',
      min: 0,
      max: 1,
      step: 0.01,
      mode: 'box',
    }),
    make('rate', 'number', {
      name: `${camera} rate`,
      entity_category: 'config',
      icon: 'mdi:speedometer',
      command_topic: set('rate'),
      state_topic,
      // "None" resets it to unknown: no number stands for unlimited.
      value_template: '{{ value_json.rate if value_json.rate is number else None }}',
      min: 0.1,
      max: COMMAND_RATE_MAX,
      step: 0.1,
      mode: 'box',
      unit_of_measurement: 'crops/s',
    }),
    make('snapshot', 'button', {
      name: `${camera} take snapshot`,
      icon: 'mdi:camera',
      command_topic: set('snapshot'),
      payload_press: 'PRESS',
    }),
    make('picture', 'image', {
      name: `${camera} last snapshot`,
      image_topic: snapshotTopic(config.topicPrefix, address),
      content_type: 'image/jpeg',
    }),
  ]
}

/** Names may hold underscores, and so may what follows them not: lengths and last parts tell where one ends. */
function maker({ site, device }: { readonly site: string; readonly device: string }, camera: string) {
  const base = `sightline_${site.length}_${device.length}_${site}_${device}_${camera}`
  return (what: string, platform: string, options: Readonly<Record<string, unknown>>): Component => [
    `${camera}_${what}`,
    { platform, unique_id: `${base}_${what}`, ...options },
  ]
}
