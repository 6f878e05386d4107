import { DISK_TRIALS } from './full-disk.ts'
import { S3_TRIALS } from './s3.ts'
import type { Trial } from './trial.ts'

/** Where crops are kept, failing. */
export const STORAGE_TRIALS: readonly Trial[] = [...S3_TRIALS, ...DISK_TRIALS]
