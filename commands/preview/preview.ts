import { parseArgs } from 'node:util'
import { type Command, parse } from '../command.ts'

export const preview: Command = {
  summary: 'the live picture with detected faces, to set up a camera',
  help: `Runs cameras and face detection only, and shows the live picture with the
detected faces on a page. Nothing is published and no broker is needed.

Usage: sightline preview [options]

Options:
  --config FILE     settings of a capture agent, YAML; its cameras, model and
                    "http" apply (default: those of conf/device.yaml)
  --source SOURCE   one camera instead: testcard, a video, a photo, a folder of
                    photos, /dev/video0, rtsp://...; files restart when
                    they end
  --rate N          maximum frames per second, e.g. 0.5 for a folder of photos
  --port PORT       port of the page (default: 8090)
  --help            this text

Pictures are made only while someone is watching. Beyond this machine
("http.host") the page needs users and TLS. Ctrl-C stops it.
`,
  async run(argv) {
    const { values } = parse('preview', () =>
      parseArgs({
        args: argv,
        options: {
          config: { type: 'string' },
          source: { type: 'string' },
          rate: { type: 'string' },
          port: { type: 'string' },
        },
      }),
    )
    const { previewCameras } = await import('./cameras.ts')
    return await previewCameras(values)
  },
  isEndless: () => true,
}
