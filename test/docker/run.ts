import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * `npm run test:docker`: builds the images on this machine's engine, and runs the tests that need them. Where there is
 * no engine it says so, and is done. What it makes is tagged "under-test", and containers are removed.
 * `npm run test:docker -- test/docker/images.docker.ts` runs some of them.
 *
 * SIGHTLINE_TEST_DOCKER_BUILD   more arguments of "docker build", such as --network=host
 * SIGHTLINE_TEST_DOCKER_TARGETS which images, by commas (default: broker,subscriber,console,device,inference)
 */

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ENV = { DOCKER_BUILDKIT: '0', ...process.env }

async function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { cwd: ROOT, stdio: 'inherit', env: ENV })
  const [code] = (await once(child, 'close')) as [number | null]
  return code ?? 1
}

const sizeOf = (image: string) =>
  Number(spawnSync('docker', ['image', 'inspect', '--format={{.Size}}', image], { encoding: 'utf8' }).stdout)

async function main(): Promise<number> {
  const engine = spawnSync('docker', ['info', '--format', '{{.ServerVersion}}, {{.Architecture}}'], {
    encoding: 'utf8',
  })
  if (engine.status !== 0) {
    process.stdout.write(
      'No Docker engine answers here ("docker info"): images are neither built nor tested.\n\n0 passed, 0 failed\n',
    )
    return 0
  }
  process.stdout.write(`Docker engine ${engine.stdout}`)
  const more = (process.env.SIGHTLINE_TEST_DOCKER_BUILD ?? '').split(' ').filter((it) => it !== '')
  const files = process.argv.slice(2)
  const targets = (
    process.env.SIGHTLINE_TEST_DOCKER_TARGETS ?? 'broker,subscriber,console,device,inference'
  ).split(',')
  for (const target of targets) {
    const started = performance.now()
    const code = await run('docker', [
      'build',
      '--quiet',
      ...more,
      '--file=docker/Dockerfile',
      `--target=${target}`,
      `--tag=sightline-${target}:under-test`,
      '.',
    ])
    if (code !== 0) return code
    const above = (sizeOf(`sightline-${target}:under-test`) - sizeOf('node:24-bookworm-slim')) / 1e6
    const seconds = (performance.now() - started) / 1000
    process.stdout.write(
      `${target}: built in ${seconds.toFixed(0)} s, ${above.toFixed(0)} MB above its base\n`,
    )
  }
  return run(process.execPath, [
    'test/run.ts',
    '--timeout=900',
    '--jobs=1', // some look at all that the engine holds
    ...(files.length > 0 ? files : globSync('test/docker/*.docker.ts', { cwd: ROOT }).sort()),
  ])
}

process.exitCode = await main()
