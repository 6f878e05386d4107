// How Sightline's programs are started, by the launcher, the demo and the benchmarks alike.
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

/** The oldest Node that runs TypeScript as it is. */
export const NODE_MAJOR_MIN = 24

/**
 * Crops are buffers outside V8's heap, which are freed when the young generation is collected: a small one is
 * collected often. Measured: 60 MB less anonymous memory in a program under load, at the same CPU time.
 */
export const NODE_FLAGS = ['--max-semi-space-size=2', '--initial-old-space-size=96']

/**
 * What must be in a program's environment before Node starts; later is too late, libuv and the C library have read it
 * by then. What the user has set stays.
 *
 * UV_THREADPOOL_SIZE: a camera that is being opened, and each write to disk, holds one of libuv's threads.
 * MALLOC_ARENA_MAX: glibc gives each thread a heap of its own, and buffers, libvips and FFmpeg leave holes in all of
 * them. Measured: a third less anonymous memory in the brokers under load, a quarter less in the agent at 1080p.
 * MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_: it also gives memory back to the system each time some is free, and
 * asks for it again with the next crop, zeroed page by page. Measured: 8 % of a broker's CPU time.
 * ORT_DISABLE_TELEMETRY: ONNX Runtime 1.30 and newer report to Microsoft over the network, unless told not to, and
 * leave a device id and logs in temporary folders.
 * NODE_COMPILE_CACHE: compiled code is kept beside the packages; a start takes 0.5 s instead of 0.8 s.
 */
export const ENVIRONMENT = {
  UV_THREADPOOL_SIZE: String(Math.max(8, availableParallelism() + 4)),
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(1024 * 1024),
  MALLOC_TRIM_THRESHOLD_: String(64 * 1024 * 1024),
  ORT_DISABLE_TELEMETRY: '1',
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../node_modules/.cache/sightline', import.meta.url)),
}
