import { z } from 'zod'
import { address, duration } from '../config.ts'

const webAddress = () => address('https://faces.example.org', ['https', 'http'])

/** Where crops are stored, as a program's configuration names it. */
export const bucketShape = () =>
  z
    .discriminatedUnion('type', [
      z.strictObject({
        // Optional as well, so that the kind is found where "type" is left out.
        type: z.literal('folder').optional().default('folder'),
        path: z.string().min(1).default('data/bucket'),
        publicUrl: webAddress().optional(),
        publicRead: z.boolean().default(false),
        writesMax: z.number().int().min(1).max(1000).default(64),
      }),
      z.strictObject({
        type: z.literal('s3'),
        bucket: z.string().min(3).max(63),
        region: z.string().min(1).optional(),
        endpoint: address('https://s3.example.org', ['https', 'http']).optional(),
        forcePathStyle: z.boolean().optional(),
        prefix: z.string().default(''),
        publicUrl: webAddress().optional(),
        publicRead: z.boolean().default(false),
        writesMax: z.number().int().min(1).max(256).default(32),
        requestTimeout: duration().prefault('20s'),
      }),
    ])
    .prefault({})

export type BucketConfig = z.output<ReturnType<typeof bucketShape>>
