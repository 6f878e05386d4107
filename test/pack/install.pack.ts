import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { temporaryFolder } from '../kit/programs.ts'

/** `npm run test:pack`: the package as `npm pack` makes it, installed into an empty folder. It downloads 0.5 GB. */

const ROOT = resolve(import.meta.dirname, '..', '..')
const run = promisify(execFile)

const folder = temporaryFolder(t)
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(SIGHTLINE_|NODE_OPTIONS$|TAP|npm_|INIT_CWD)/i.test(name),
  ),
)

t.test(
  'npm pack: JavaScript, the model, what images are built from; no TypeScript, no tests, no secrets',
  async (t) => {
    const { stdout } = await run('npm', ['pack', '--json', `--pack-destination=${folder}`], {
      cwd: ROOT,
      env: environment,
      maxBuffer: 1e8,
    })
    const [{ files, size }] = JSON.parse(stdout.slice(stdout.indexOf('[\n')))
    const paths = (files as { path: string }[]).map(({ path }) => path)
    t.comment(`${paths.length} files, ${(size / 1e6).toFixed(1)} MB`)
    for (const needed of [
      'bin/sightline.js',
      'dist/cli.js',
      'dist/package.json',
      'dist/package-lock.json',
      'dist/.dockerignore',
      'dist/conf/device.yaml',
      'dist/conf/systemd/sightline-device.service',
      'dist/docker/Dockerfile',
      'dist/docker/compose.edge.yaml',
      'dist/docker/secrets.sh',
      'dist/cloud-subscriber/gallery/page/index.html',
      'dist/console/pages/main.js',
      'dist/device/process/plugin.d.ts',
      'dist/device/process/plugin-testing.d.ts',
      'dist/plugins/brightness.js',
      'dist/plugins/face-blur.js',
      'dist/console/pages/views/flow.js',
      'dist/console/pages/base.css',
      'LICENSE',
      'README.md',
    ])
      t.ok(paths.includes(needed), needed)
    t.ok(paths.some((path) => /^dist\/models\/blazeface-.*\.onnx$/.test(path)))
    t.strictSame(
      paths.filter((path) => /(?<!\.d)\.tsx?$|^dist\/test|secrets\/|node_modules|\.key$|\.pem$/.test(path)),
      [],
    )
    t.ok(size < 5e6, 'below 5 MB')
  },
)

t.test('installed into an empty folder it runs, without a clone in sight', async (t) => {
  const home = join(folder, 'home')
  mkdirSync(home)
  const [tarball = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  copyFileSync(join(folder, tarball), join(home, tarball))
  writeFileSync(join(home, 'package.json'), '{ "private": true }')
  await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', `./${tarball}`], {
    cwd: home,
    env: environment,
    maxBuffer: 1e8,
  })
  const installed = join(home, 'node_modules', 'sightline')
  t.notOk(existsSync(join(installed, 'cli.ts')))
  const sightline = (...args: string[]) =>
    run(process.execPath, [join(home, 'node_modules', '.bin', 'sightline'), ...args], {
      cwd: home,
      env: environment,
      maxBuffer: 1e8,
    })
  t.match((await sightline('--version')).stdout, /^sightline \d+\.\d+\.\d+ \(Node 24\./)
  const demo = await sightline('demo', '--for', '8s', '--data', join(home, 'run'))
  t.match(demo.stdout, 'They balance: every crop that was published is in the bucket.')
  t.ok(statSync(join(home, 'run', 'bucket')).isDirectory())
  const folders = await sightline('config', 'check', join(installed, 'dist', 'conf', 'device.yaml'))
  t.match(folders.stdout, 'is a valid configuration of the device')
  // What it lays out for the images is what a clone lays out.
  const parts = join(home, 'parts')
  await run(process.execPath, [join(installed, 'dist', 'pack', 'image.js'), parts])
  t.ok(existsSync(join(parts, 'broker', 'app', 'broker', 'main.js')))
})

t.test('an old Node is told what to do', async (t) => {
  const old = process.env.SIGHTLINE_TEST_OLD_NODE
  if (old === undefined)
    return void t.comment('SIGHTLINE_TEST_OLD_NODE names no Node older than 24: left out')
  const { code, stderr } = await run(
    old,
    [join(folder, 'home', 'node_modules', 'sightline', 'bin', 'sightline.js')],
    { env: environment },
  ).catch((error) => error)
  t.equal(code, 69)
  t.match(stderr, /^RUNTIME_TOO_OLD: Sightline needs Node 24 or newer; this is v\d+.*npm install node@24/)
})
