import {
  type Counter,
  counter,
  type Gauge,
  gauge,
  type Histogram,
  histogram,
  type Registry,
} from '../lib/metrics.ts'

/** From a classifier on a GPU to a large network on a small board. */
const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
const ROWS = [1, 2, 4, 8, 16, 32, 64]

export interface Meters {
  readonly requests: Counter<'model' | 'outcome'>
  readonly runSeconds: Histogram<'model'>
  readonly waitSeconds: Histogram<'model'>
  readonly batchRows: Histogram<'model'>
  readonly restarts: Counter<'model'>
  readonly refused: Counter<'code'>
}

/** @param looks how each model is at the moment */
export function openMeters(
  registry: Registry,
  looks: () => Iterable<{ readonly name: string; readonly waiting: number; readonly isReady: boolean }>,
): Meters {
  const each = (what: 'waiting' | 'isReady') => (made: Gauge<'model'>) => {
    for (const look of looks()) made.set({ model: look.name }, Number(look[what]))
  }
  gauge(registry, 'inference_waiting', 'Requests that wait for their turn', ['model'], each('waiting'))
  gauge(registry, 'inference_model_up', 'Whether the model runs', ['model'], each('isReady'))
  return {
    requests: counter(
      registry,
      'inference_requests_total',
      'Requests by what became of them: ok, wrong, tooLarge, busy, away, failed, gone',
      ['model', 'outcome'],
    ),
    runSeconds: histogram(registry, 'inference_run_seconds', 'One inference, of a whole batch', SECONDS, [
      'model',
    ]),
    waitSeconds: histogram(
      registry,
      'inference_wait_seconds',
      'From a request to the begin of its inference',
      SECONDS,
      ['model'],
    ),
    batchRows: histogram(registry, 'inference_batch_rows', 'Rows that ran together', ROWS, ['model']),
    restarts: counter(
      registry,
      'inference_restarts_total',
      'Threads that ended or hung, and were opened again',
      ['model'],
    ),
    refused: counter(
      registry,
      'inference_refused_total',
      'Connections and requests refused before they were read',
      ['code'],
    ),
  }
}
