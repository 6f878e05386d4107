import type { Trial } from './trial.ts'
export const HOSTILE_CONFIG: Trial = {
  name: 'hostile-config',
  what: '-',
  run: async () => ({ faults: [], said: '' }),
}
