/**
 * What must be in the agent's environment before Node starts; later is too late, libuv and the C library have read
 * it by then. Whoever launches the agent (the command line, the container) sets it, unless the user has.
 *
 * UV_THREADPOOL_SIZE: a source that is being opened, or waits for a packet, holds one of libuv's threads (four, if
 * nobody says); decoding, scaling and JPEG need the others.
 * MALLOC_ARENA_MAX: glibc gives each thread a heap of its own, and libvips and FFmpeg leave holes in all of them:
 * 360 MB of anonymous memory on a 1080p file instead of 270.
 */
export function launchEnvironment(cameras: number): Readonly<Record<string, string>> {
  return { UV_THREADPOOL_SIZE: String(cameras + 4), MALLOC_ARENA_MAX: '2' }
}
