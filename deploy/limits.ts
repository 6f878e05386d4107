/** Every limit of this room: how much, how long, how often. */

/** Of the engine's API: 1.40 (Docker 19.03) is the first that takes GPUs as device requests. */
export const API_VERSION_MIN = '1.40'

/** Wait for the engine's first answer, and for an SSH connection to be ready, ms. */
export const CONNECT_MS_MAX = 20_000
/** A connection that has gone silent is noticed after three of these, ms. */
export const SSH_KEEPALIVE_MS = 15_000
/** Requests at a time over one SSH connection; OpenSSH allows ten channels (MaxSessions). */
export const SSH_CHANNELS_MAX = 7
/** What a program on the engine's machine may print. */
export const OUTPUT_BYTES_MAX = 1024 * 1024
/** How long one may take, ms. */
export const COMMAND_MS_MAX = 20_000

/** Room that a deployment needs where the engine keeps its data: images that are built need their layers besides. */
export const DISK_BYTES_TO_BUILD = 4e9
export const DISK_BYTES_TO_RUN = 1e9

/** A container gets so long from SIGTERM to SIGKILL: the programs drain within 10 s by themselves. */
export const STOP_SECONDS_MAX = 30
/** How long a container may take to become healthy, unless told otherwise, ms. */
export const HEALTHY_MS_MAX = 180_000
export const HEALTH_INTERVAL_MS = 1000
/** A container that has ended so often does not become healthy by being started again. */
export const RESTARTS_MAX = 3
/** Of a log, in an error. */
export const LOG_LINES_SHOWN = 15
/** Of a build's output, in an error. */
export const BUILD_LINES_SHOWN = 20

/** A build's context: the project has a few megabytes, and more is a forgotten folder. */
export const CONTEXT_BYTES_MAX = 256e6
export const CONTEXT_FILES_MAX = 20_000
/** Of a file that a configuration names (certificate, password, users). */
export const NAMED_FILE_BYTES_MAX = 4e6
/** Of what deploy remembers on the engine. */
export const STATE_BYTES_MAX = 8e6
/** Of a cloud's users file. */
export const USERS_BYTES_MAX = 1e6
/** Of one that describes images in a `docker save` tarball. */
export const MANIFEST_BYTES_MAX = 4e6

/** Containers: memory and processes (threads count). With a GPU networks are kept in the same memory. */
export const MEMORY_BYTES = {
  broker: 512 * 2 ** 20,
  subscriber: 512 * 2 ** 20,
  console: 512 * 2 ** 20,
  device: 1024 * 2 ** 20,
  inference: 2048 * 2 ** 20,
} as const
export const MEMORY_BYTES_GPU = 4096 * 2 ** 20
export const PROCESSES_MAX = 256
export const TEMPORARY_BYTES = 64 * 2 ** 20
/** Of a container's log: so much a file, so many files. */
export const LOG_FILE_SIZE = '10m'
export const LOG_FILES = 3

/** The authority of a deployment, and what it signs: nobody comes by to renew a certificate in a cellar. */
export const AUTHORITY_DAYS = 3650
export const CERTIFICATE_DAYS = 3640
