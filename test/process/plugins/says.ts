import type { Plugin } from 'sightline/plugin'

export default {
  version: '1.2',
  open({ settings }) {
    const label = String(settings.label ?? 'round')
    return {
      crop: ({ width, height, rgb }) => [
        { name: 'shape', label, score: rgb.length === width * height * 3 ? 0.75 : 0 },
      ],
    }
  },
} satisfies Plugin
