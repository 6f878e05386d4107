import sharp from 'sharp'

/** The decoder of pictures, as this program uses it. Everything here gets it from this file (a rule of the linter). */

// Crops are small and many: one thread for each, and nothing in a cache that is asked for once only.
sharp.concurrency(1)
sharp.cache(false)

// What picture.ts takes by its first bytes, and no other loader: libvips would read SVG, PDF, and whatever it was built
// with. SVG only out of memory, where it is our own (the test card, boxes that are drawn).
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: [
    'VipsForeignLoadJpeg',
    'VipsForeignLoadPng',
    'VipsForeignLoadWebp',
    'VipsForeignLoadHeif',
    'VipsForeignLoadNsgif',
    'VipsForeignLoadTiff',
    'VipsForeignLoadSvgBuffer',
  ],
})

export { sharp }
