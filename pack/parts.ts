/** The programs that have an image of their own, and what each does without. */

export interface Program {
  readonly entries: readonly string[]
  /** Modules of `commands/` that work in this image; what the others import when they are called is left out. */
  readonly commands: readonly string[]
  /** Modules (paths without extension) and packages that are imported when they are needed, and here never are. */
  readonly without: readonly string[]
  /** Folders of which only the settings' schema is here (for `doctor` and `config`): no more than that is followed. */
  readonly schemaOnly: readonly string[]
  /** Packages whose files browsers are given: no module of the program imports them. */
  readonly served?: readonly string[]
  /** Settings of the repository that lie at /etc/sightline until somebody mounts his own: from, to. */
  readonly settings: readonly (readonly [string, string])[]
}

/** For people who look into a container: of every image. */
const COMMON = ['programs', 'healthcheck', 'doctor', 'config']

const NO_CAMERA = [
  'device/main',
  'commands/doctor/device',
  'commands/doctor/model',
  'commands/doctor/processors',
  'commands/doctor/sources',
  'node-av',
  'sharp',
]
const CAMERA = [...NO_CAMERA, 'onnxruntime-node']
const SUBSCRIBER = ['cloud-subscriber/main']
const INFERENCE = ['inference/main', 'commands/doctor/inference']
const BUCKET = ['lib/buckets/s3']
/** It keeps nothing: what it is asked is answered, or refused. */
const STORES = ['commands/doctor/stores', 'commands/doctor/console', 'lmdb']
/** Beside the program: what its commands, and doctor of its configuration, need. */
const CONSOLE = ['console/main', 'commands/console/mend', 'commands/doctor/database']

export const PROGRAMS = {
  broker: {
    entries: ['cli.ts', 'bin/sightline.js'],
    commands: [...COMMON, 'queue', 'quarantine', 'forget', 'users', 'certs', 'secrets'],
    without: [...CAMERA, ...SUBSCRIBER, ...BUCKET, ...CONSOLE, ...INFERENCE],
    schemaOnly: ['device/', 'models/', 'console/', 'inference/'],
    settings: [['conf/broker.yaml', 'broker.yaml']],
  },
  subscriber: {
    entries: ['cli.ts', 'bin/sightline.js'],
    commands: [...COMMON, 'queue', 'quarantine', 'forget', 'link', 'users'],
    without: [...CAMERA, 'broker/main', ...CONSOLE, ...INFERENCE],
    schemaOnly: ['device/', 'models/', 'console/', 'inference/'],
    settings: [['conf/subscriber.yaml', 'subscriber.yaml']],
  },
  console: {
    entries: ['cli.ts', 'bin/sightline.js'],
    commands: [...COMMON, 'console', 'queue', 'quarantine', 'users'],
    without: [...CAMERA, 'broker/main', ...SUBSCRIBER, ...INFERENCE],
    schemaOnly: ['device/', 'models/', 'broker/', 'cloud-subscriber/', 'inference/'],
    served: ['preact', '@preact/signals', 'uplot', 'hls.js'],
    settings: [['conf/console.yaml', 'console.yaml']],
  },
  device: {
    entries: ['cli.ts', 'bin/sightline.js'],
    // It has a store too: the outbox.
    commands: [...COMMON, 'queue', 'quarantine', 'forget', 'streams', 'plugin'],
    without: [...SUBSCRIBER, ...BUCKET, ...CONSOLE, ...INFERENCE, 'broker/main'],
    schemaOnly: ['broker/', 'cloud-subscriber/', 'console/', 'inference/'],
    settings: [['conf/device.yaml', 'device.yaml']],
  },
  inference: {
    entries: ['cli.ts', 'bin/sightline.js'],
    commands: [...COMMON, 'models'],
    without: [...NO_CAMERA, ...SUBSCRIBER, ...BUCKET, ...CONSOLE, ...STORES, 'broker/main'],
    schemaOnly: ['device/', 'broker/', 'cloud-subscriber/', 'console/'],
    settings: [['conf/inference.yaml', 'inference.yaml']],
  },
} as const satisfies Record<string, Program>

export type ProgramName = keyof typeof PROGRAMS

/** What only its install script or a way of use that is none of ours needs of a package. */
export const NEEDLESS: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['adm-zip', 'global-agent'],
  'node-av': ['unzipper', 'werift'],
}

/**
 * Turns into the console's pages, while an image is built: their sources (or, in the npm package, the pages themselves), and
 * what compiles them.
 */
export const PAGES = {
  entries: ['console/pages-build.ts'],
  package: 'typescript',
  copied: ['console/pages', 'tsconfig.json'],
} as const

/** Turns into the default model, while an image is built. */
export const MODEL = { entries: ['models/convert.ts'], package: '@vladmandic/human' } as const
