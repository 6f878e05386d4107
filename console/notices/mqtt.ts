import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure } from '../../lib/errors.ts'
import { type Notice, noticeTopic } from '../../wire/notice.ts'
import { DISCOVERY_PREFIX_DEFAULT, eventDiscoveryTopic } from '../../wire/topics.ts'
import type { Channel } from './channel.ts'
import type { Outcome } from './outcome.ts'

/** Notices on `<prefix>/notices/<scenario>`; and for Home Assistant, what an event entity of a scenario is. */

export type MqttChannel = Extract<Channel, { type: 'mqtt' }>

export interface MqttParts {
  readonly topicPrefix: string
  /** At QoS 1; resolves when the broker has it. Errors: BROKER_UNREACHABLE, TOO_MANY */
  readonly publish: (topic: string, payload: Buffer, options: { retain: boolean }) => Promise<void>
}

const ACKNOWLEDGE_MS_MAX = 10_000

export class MqttNotices {
  readonly #parts: MqttParts

  constructor(parts: MqttParts) {
    this.#parts = parts
  }

  async send(channel: Pick<MqttChannel, 'retain'>, notice: Notice): Promise<Outcome> {
    try {
      const payload = Buffer.from(JSON.stringify(notice))
      await this.#publish(this.topic(notice), payload, channel.retain)
      return { is: 'sent' }
    } catch (error) {
      const { code, message } = asFailure(error)
      return { is: 'failed', final: false, code, why: message }
    }
  }

  topic(notice: Notice): string {
    return noticeTopic(this.#parts.topicPrefix, notice.scenario.id)
  }

  /** Tells Home Assistant that there is something to hear of a scenario. Errors: BROKER_UNREACHABLE, TOO_MANY, NOT_CONFIRMED */
  async announce(scenario: Notice['scenario']): Promise<void> {
    const text = JSON.stringify(discoveryOf(this.#parts.topicPrefix, scenario))
    await this.#publish(eventDiscoveryTopic(DISCOVERY_PREFIX_DEFAULT, scenario.id), Buffer.from(text), true)
  }

  /** And that there is nothing any more; where it was never told, that changes nothing. Errors: as of announce */
  async withdraw(scenario: string): Promise<void> {
    await this.#publish(eventDiscoveryTopic(DISCOVERY_PREFIX_DEFAULT, scenario), Buffer.alloc(0), true)
  }

  async #publish(topic: string, payload: Buffer, retain: boolean): Promise<void> {
    const late = new AbortController()
    try {
      await Promise.race([
        this.#parts.publish(topic, payload, { retain }),
        sleep(ACKNOWLEDGE_MS_MAX, undefined, { signal: late.signal }).then(() => {
          throw failure(
            'NOT_CONFIRMED',
            `The broker has not confirmed it within ${ACKNOWLEDGE_MS_MAX / 1000} s.`,
          )
        }),
      ])
    } finally {
      late.abort()
    }
  }
}

/** https://www.home-assistant.io/integrations/event.mqtt: what `is` says is the event's type, the rest its attributes. */
export const discoveryOf = (topicPrefix: string, { id, name }: Notice['scenario']) => ({
  name,
  unique_id: `sightline_notices_${id}`,
  state_topic: noticeTopic(topicPrefix, id),
  event_types: ['new', 'updated', 'ended', 'test'],
  value_template: "{{ dict(value_json, event_type=value_json['is']) | tojson }}",
  icon: 'mdi:face-recognition',
  device: { identifiers: ['sightline_notices'], name: 'Sightline notices', manufacturer: 'Sightline' },
})
