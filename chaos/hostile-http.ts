import type { Trial } from './trial.ts'
export const HOSTILE_HTTP: Trial = {
  name: 'hostile-http',
  what: '-',
  run: async () => ({ faults: [], said: '' }),
}
