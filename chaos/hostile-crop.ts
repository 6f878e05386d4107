import type { Trial } from './trial.ts'
export const HOSTILE_CROP: Trial = {
  name: 'hostile-crop',
  what: '-',
  run: async () => ({ faults: [], said: '' }),
}
