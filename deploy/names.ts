/** How a deployment's things are called, and how they are known as its own. Pure. */

export type Kind = 'edge' | 'cloud' | 'demo' | 'inference'
export type ProgramName = 'device' | 'broker' | 'subscriber' | 'console' | 'inference'

/** One container of a deployment. */
export interface Part {
  /** Within the deployment, and its name on the deployment's network. */
  readonly name: string
  readonly program: ProgramName
  /** Of a broker. */
  readonly end?: 'edge' | 'cloud'
}

/** In the order of starting: who is connected to before who connects. */
export const PARTS: Readonly<Record<Kind, readonly Part[]>> = {
  edge: [
    { name: 'broker', program: 'broker', end: 'edge' },
    { name: 'device', program: 'device' },
  ],
  cloud: [
    { name: 'broker', program: 'broker', end: 'cloud' },
    { name: 'subscriber', program: 'subscriber' },
    { name: 'console', program: 'console' },
  ],
  demo: [
    { name: 'cloud-broker', program: 'broker', end: 'cloud' },
    { name: 'subscriber', program: 'subscriber' },
    { name: 'console', program: 'console' },
    { name: 'edge-broker', program: 'broker', end: 'edge' },
    { name: 'device', program: 'device' },
  ],
  inference: [{ name: 'inference', program: 'inference' }],
}

/** Labels. What bears none of the deployment's name is never touched. */
export const DEPLOYMENT = 'org.sightline.deployment'
export const KIND = 'org.sightline.kind'
/** A part's name; of what serves for moments: `helper`. */
export const ROLE = 'org.sightline.role'
/** What the container was made from, without its image. */
export const CONFIG = 'org.sightline.config'
/** Of an image: the hash of the files it was built from. */
export const SOURCE = 'org.sightline.source'
/** Of a container: where to look, for people. */
export const LOOK = 'org.sightline.look'

export const HELPER = 'helper'

/** Of a container that has to make room for its successor, until that is well. */
export const previousName = (container: string) => `${container}.previous`

export const containerName = (deployment: string, part: string) => `sightline-${deployment}-${part}`
export const networkName = (deployment: string) => `sightline-${deployment}`
/** What deploy itself remembers: keys, passwords, settings. No container of the deployment has it. */
export const stateVolume = (deployment: string) => `sightline-${deployment}-state`
/** A queue, an inbox: what `down` keeps. */
export const dataVolume = (deployment: string, part: string) => `sightline-${deployment}-${part}-data`
/** A folder that is the bucket. */
export const bucketVolume = (deployment: string) => `sightline-${deployment}-bucket`
/** The users file of a cloud's broker, which follows it: who is invited or taken back is so while it runs. */
export const usersVolume = (deployment: string) => `sightline-${deployment}-users`
/** Configuration and secrets of one part, never changed: another configuration is another volume. */
export const configVolume = (deployment: string, part: string, hash: string) =>
  `sightline-${deployment}-${part}-config-${hash}`

export function namesOf(deployment: string, kind: Kind) {
  const containers = PARTS[kind].map((part) => containerName(deployment, part.name))
  return {
    network: networkName(deployment),
    containers: [...containers, ...containers.map(previousName)],
    volumes: [
      stateVolume(deployment),
      usersVolume(deployment),
      bucketVolume(deployment),
      ...PARTS[kind].map((part) => dataVolume(deployment, part.name)),
    ],
  }
}

/** Where an inference server listens, within its container too. */
export const INFERENCE_PORT = 8500

/** The agent at its edge. */
export const DEVICE_USER = 'device'
/** The login of a demo's edge; at a cloud that an earlier version deployed, the user of all edges in common. */
export const EDGE_USER = 'edge'
/** Whose password is the token of an inference server. */
export const INFERENCE_USER = 'inference'
