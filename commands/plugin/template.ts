/** What `sightline plugin new` writes; NAME is the plugin's name. It runs as it is, with Node alone. */
export const TEMPLATE = {
  'NAME.ts': `import type { Crop, Plugin } from 'sightline/plugin'

/** Says of each crop whether it is light or dark. Put your own model in its place. */
export default {
  version: '1',
  open({ settings, log }) {
    const threshold = Number(settings.threshold ?? 110)
    if (!(threshold > 0 && threshold < 255)) throw new Error('settings.threshold must be above 0 and below 255')
    log.info('opened', { threshold })
    return {
      // Called for each crop before it is published: what to say of this face.
      crop(crop) {
        const mean = brightnessOf(crop)
        const score = Math.min(1, 0.5 + Math.abs(mean - threshold) / 255)
        return [{ name: 'light', label: mean < threshold ? 'dark' : 'light', score }]
      },

      // Called for frames in which faces were looked for: events, and attributes of faces.
      // frame({ rgb, width, height, faces }) {
      //   return { events: [{ name: 'crowd', score: 1 }] }
      // },

      // What viewers see: this picture, changed.
      // picture({ rgb, areas }) {
      //   return rgb
      // },

      close() {},
    }
  },
} satisfies Plugin

/** The mean of all colours, 0 to 255. RGB: three bytes a pixel. */
function brightnessOf({ rgb }: Pick<Crop, 'rgb'>): number {
  let sum = 0
  for (const value of rgb) sum += value
  return sum / rgb.length
}
`,
  'NAME.test.ts': `import assert from 'node:assert/strict'
import test from 'node:test'
import plugin from './NAME.ts'

const open = (settings = {}) =>
  plugin.open({ name: 'NAME', settings, folder: import.meta.dirname, log: { info() {}, warn() {} } })

/** A crop of one colour. */
const crop = (level: number) => ({
  camera: 'door',
  rgb: new Uint8Array(64 * 64 * 3).fill(level),
  width: 64,
  height: 64,
  box: [8, 8, 48, 48] as const,
  landmarks: [],
  metadata: {},
})

test('dark and light faces are told apart', () => {
  const { crop: look } = open()
  assert.equal(look(crop(20))[0].label, 'dark')
  assert.equal(look(crop(220))[0].label, 'light')
})

test('a threshold that is none is refused', () => {
  assert.throws(() => open({ threshold: 'high' }), /settings\\.threshold/)
})
`,
  'package.json': `{
  "name": "NAME",
  "private": true,
  "type": "module",
  "scripts": { "test": "node --test" }
}
`,
  'README.md': `# NAME

A plugin of Sightline: it says of each face whether it is light or dark.

    npm test                          its own test; needs Node 24
    sightline plugin test NAME.ts     opened as the agent does, with faces

In the device's configuration (paths are relative to the folder that the agent runs in):

    process:
      - name: NAME
        module: NAME/NAME.ts
        settings: { threshold: 110 }

\`sightline preview --config device.yaml\` shows a camera with it. The types come from \`sightline/plugin\`; where your editor does not find
them, install the package beside this one. They are not needed to run it.
`,
} as const
