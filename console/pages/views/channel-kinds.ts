import type { Channel } from '../channel-types.ts'

/** Ways on which notices go out: what each is called, and what it asks for, in its own words. Pure. */

export type FieldName = 'url' | 'token' | 'topic' | 'chat' | 'to' | 'users'

export interface KindField {
  readonly name: FieldName
  readonly label: string
  /** Where to find it. */
  readonly hint: string
  readonly type: 'url' | 'secret' | 'text' | 'list'
  readonly isRequired: boolean
  readonly initial?: string
}

export interface ChannelKind {
  /** The type, or the template of a webhook. */
  readonly key: string
  readonly type: Channel['type']
  readonly title: string
  readonly what: string
  readonly fields: readonly KindField[]
  /** Whether it can have the picture itself, not a link to it. */
  readonly attaches: boolean
}

export const KINDS: readonly ChannelKind[] = [
  {
    key: 'push',
    type: 'push',
    title: 'Browsers and phones',
    what: 'Web Push: to everybody who has switched notices on in this console, for the cameras that they may see.',
    attaches: false,
    fields: [
      {
        name: 'users',
        label: 'Only these users',
        hint: 'Names, separated by commas. Empty: everybody who may see the camera.',
        type: 'list',
        isRequired: false,
      },
    ],
  },
  {
    key: 'email',
    type: 'email',
    title: 'Email',
    what: 'With the picture. The console needs a mail server: notices.smtp in console.yaml.',
    attaches: true,
    fields: [
      {
        name: 'to',
        label: 'To',
        hint: 'Addresses, separated by commas; 20 at most.',
        type: 'list',
        isRequired: true,
      },
    ],
  },
  {
    key: 'ntfy',
    type: 'webhook',
    title: 'ntfy',
    what: 'The ntfy app, by ntfy.sh or a server of your own.',
    attaches: true,
    fields: [
      {
        name: 'url',
        label: 'Server',
        hint: 'The address of the server, without the topic.',
        type: 'url',
        isRequired: true,
        initial: 'https://ntfy.sh',
      },
      {
        name: 'topic',
        label: 'Topic',
        hint: 'Subscribe to the same name in the app. On a public server whoever knows it can read it: make it long.',
        type: 'text',
        isRequired: true,
      },
      {
        name: 'token',
        label: 'Access token',
        hint: 'Only where the topic is protected. In the web app of ntfy: Account, Access tokens.',
        type: 'secret',
        isRequired: false,
      },
    ],
  },
  {
    key: 'telegram',
    type: 'webhook',
    title: 'Telegram',
    what: 'A bot of yours writes into a chat.',
    attaches: true,
    fields: [
      {
        name: 'token',
        label: 'Token of the bot',
        hint: 'Write /newbot to @BotFather: it answers with the token.',
        type: 'secret',
        isRequired: true,
      },
      {
        name: 'chat',
        label: 'Chat ID',
        hint: 'Write to the bot, then open https://api.telegram.org/bot<token>/getUpdates: the number is under chat, id. Groups have one with a minus, channels @name.',
        type: 'text',
        isRequired: true,
      },
      {
        name: 'url',
        label: 'Bot API server',
        hint: 'Another one only if you run your own.',
        type: 'url',
        isRequired: true,
        initial: 'https://api.telegram.org',
      },
    ],
  },
  {
    key: 'slack',
    type: 'webhook',
    title: 'Slack',
    what: 'An incoming webhook of a Slack app.',
    attaches: false,
    fields: [
      {
        name: 'url',
        label: 'Webhook URL',
        hint: 'On api.slack.com: your app, Incoming Webhooks, Add New Webhook to Workspace. It begins with https://hooks.slack.com/services/.',
        type: 'url',
        isRequired: true,
      },
    ],
  },
  {
    key: 'discord',
    type: 'webhook',
    title: 'Discord',
    what: 'A webhook of a channel.',
    attaches: true,
    fields: [
      {
        name: 'url',
        label: 'Webhook URL',
        hint: 'Edit the channel, Integrations, Webhooks, New Webhook, Copy Webhook URL.',
        type: 'url',
        isRequired: true,
      },
    ],
  },
  {
    key: 'gotify',
    type: 'webhook',
    title: 'Gotify',
    what: 'Your Gotify server, and its app.',
    attaches: false,
    fields: [
      {
        name: 'url',
        label: 'Server',
        hint: 'The address at which you open Gotify.',
        type: 'url',
        isRequired: true,
      },
      {
        name: 'token',
        label: 'Application token',
        hint: 'In Gotify: Apps, Create Application; its token, not the one of a client.',
        type: 'secret',
        isRequired: true,
      },
    ],
  },
  {
    key: 'sightline',
    type: 'webhook',
    title: 'Webhook',
    what: 'JSON to an address of yours, signed per Standard Webhooks, so that you know it is from here.',
    attaches: false,
    fields: [
      {
        name: 'url',
        label: 'Address',
        hint: 'It is called by POST for each notice, and answers with 2xx. The same id and revision may come twice: drop the second.',
        type: 'url',
        isRequired: true,
      },
    ],
  },
  {
    key: 'mqtt',
    type: 'mqtt',
    title: 'MQTT',
    what: 'On the cloud broker, a topic for each scenario: notices/<scenario> below the prefix. Also for Home Assistant.',
    attaches: false,
    fields: [],
  },
]

export const kindOf = (channel: Channel): ChannelKind | undefined =>
  KINDS.find(({ key }) => key === (channel.type === 'webhook' ? channel.template : channel.type))

/** Where it goes, in short, without secrets. */
export function whereTo(channel: Channel): string {
  switch (channel.type) {
    case 'webhook':
      return [hostOf(channel.url), channel.topic, channel.chat].filter((it) => it !== undefined).join(' · ')
    case 'email':
      return channel.to.join(', ')
    case 'push':
      return channel.users ? channel.users.join(', ') : 'Everybody who may see the camera'
    default:
      return channel.homeAssistant ? 'For Home Assistant too' : 'On the cloud broker'
  }
}

function hostOf(url: string): string {
  try {
    return new URL(url).host
  } catch {
    return url
  }
}
