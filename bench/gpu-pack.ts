import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { partOf } from '../pack/graph.ts'
import { type Lock, type PackageFile, subsetOf } from '../pack/lock.ts'
import { NEEDLESS } from '../pack/parts.ts'

/**
 * Packs what `npm run bench -- gpu` needs beside a checkout, for a machine without a network (x86-64 Linux):
 *
 *     node bench/gpu-pack.ts FOLDER          writes FOLDER/network.tar.xz (45 MB) and FOLDER/video.tar.xz (40 MB); minutes
 *
 * network: Node, the packages that the benchmark imports, ONNX Runtime, and its GPU libraries where they are here. video: FFmpeg.
 * Where what travels at once is bounded, they can go one after the other. There, in the checkout, with the test data beside:
 *
 *     tar -xJf network.tar.xz; tar -xJf video.tar.xz
 *     SIGHTLINE_TEST_DATA=DATA node_modules/node/bin/node bench/main.ts gpu --keep gpu.json
 */

const ROOT = resolve(import.meta.dirname, '..')
const PLATFORM = 'bin/napi-v6/linux/x64'
const VIDEO = ['node-av', '@seydx/node-av-linux-x64']
/** Of what is imported when it is needed: what the benchmark needs. */
const NEEDED_LATER = ['onnxruntime-node']
/** Three of the catalogue's models are made from what lies there. */
const MADE_FROM = [
  'package.json',
  'dist/human.node.js',
  ...['antispoof', 'blazeface', 'liveness'].flatMap((name) => [`models/${name}.json`, `models/${name}.bin`]),
].map((it) => `node_modules/@vladmandic/human/${it}`)
/** Its package has libraries for six systems. */
const ONNX_RUNTIME = 'onnxruntime-node'

function packages(): string[] {
  const file = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as PackageFile
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Lock
  const part = partOf({
    root: ROOT,
    entries: ['bench/main.ts', 'bench/gpu.ts', 'bench/gpu-work.ts', 'device/detect/thread.ts'],
    leavesOut: (_from, to, isLater) => isLater && !NEEDED_LATER.includes(to),
  })
  const named = { ...file.devDependencies, ...file.dependencies }
  // Others are tried where somebody has them (TensorFlow's own binding).
  const { lock: subset } = subsetOf(
    file,
    lock,
    [...part.packages].filter((name) => name in named),
    NEEDLESS,
  )
  return Object.keys(subset.packages).filter((place) => place !== '' && existsSync(join(ROOT, place)))
}

function pack(out: string, paths: readonly string[], leftOut: readonly string[]): void {
  const { status, stderr } = spawnSync(
    'tar',
    // What is linked to, in its place: node_modules may be a link itself.
    [
      '-c',
      '-h',
      '-f',
      out,
      '--use-compress-program=xz -T0',
      ...leftOut.map((it) => `--exclude=${it}`),
      ...paths,
    ],
    { cwd: ROOT, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`tar: ${stderr}`)
  process.stdout.write(`${out}: ${(statSync(out).size / 2 ** 20).toFixed(0)} MiB\n`)
}

if (import.meta.main) {
  const [, , folder] = process.argv
  if (folder === undefined) throw new Error('Usage: node bench/gpu-pack.ts FOLDER')
  mkdirSync(folder, { recursive: true })
  const isVideo = (place: string) => VIDEO.some((name) => place.startsWith(`node_modules/${name}`))
  const all = packages()
  const others = all.filter((place) => !isVideo(place) && place !== `node_modules/${ONNX_RUNTIME}`)
  const ort = ['package.json', 'dist', PLATFORM].map((it) => `node_modules/${ONNX_RUNTIME}/${it}`)
  const network = ['node_modules/node/bin/node', ...ort, ...MADE_FROM, ...others]
  pack(join(folder, 'network.tar.xz'), network, ['*.map', '*.d.ts'])
  pack(join(folder, 'video.tar.xz'), all.filter(isVideo), ['*.map', '*.d.ts'])
}
