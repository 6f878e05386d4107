import { parseArgs } from 'node:util'
import { type Command, parse, portOf } from '../command.ts'

export const demo: Command = {
  summary: 'the whole line on this machine, from camera to gallery',
  help: `Runs the whole line on this machine and shows it live: a capture agent, an edge
broker, a cloud broker and a subscriber, four programs, each from its own file
in conf/. Press u to unplug the link to the cloud and to plug it in again;
nothing is lost.

Usage: sightline demo [options]

Options:
  --source SOURCE   what to look at (default: testcard, a scene of drawn faces):
                    a video, a photo, a folder of photos, /dev/video0,
                    rtsp://..., rtmp://... or http://...
  --model MODEL     a name of "sightline models list", or the path of a model
  --pace PACE       realtime or asfast, for files
  --loop            start again when the source ends
  --for DURATION    end by itself after so long (20s, 5m), with a line a second
                    instead of the live view
  --data DIR        keep everything of the run in this folder (default: a
                    temporary one, removed at the end)
  --port PORT       of the gallery (default: 8080, or any that is free)
  --help            this text

Without a terminal, or with TERM=dumb, it prints a line a second, and ends when
the source ends. The gallery closes with the demo. At the end it sums up the
books; exit status 0 says that they balance.
`,
  async run(argv) {
    const { values } = parse('demo', () =>
      parseArgs({
        args: argv,
        options: {
          source: { type: 'string' },
          model: { type: 'string' },
          pace: { type: 'string' },
          loop: { type: 'boolean' },
          for: { type: 'string' },
          data: { type: 'string' },
          port: { type: 'string' },
        },
      }),
    )
    const { GALLERY_PORT, runDemo } = await import('../../demo/main.ts')
    return runDemo({ ...values, port: portOf(values.port, GALLERY_PORT) })
  },
  isEndless: () => true,
}
