import { parseArgs } from 'node:util'
import { type Command, parse, portOf } from '../command.ts'

export const demo: Command = {
  summary: 'the whole line on this machine, from camera to console',
  help: `Runs the whole line on this machine and shows it live: a capture agent, an edge
broker, a cloud broker, a subscriber and a console, five programs, each from its
own file in conf/. The test card is recorded, and cameras of your own may come:
OBS by RTMP, a browser by a page. Press u to unplug the cloud link, and again to
reconnect it; nothing is lost.

Usage: sightline demo [options]

Options:
  --source SOURCE   video source (default: testcard, a scene of drawn faces):
                    a video, a photo, a folder of photos, /dev/video0,
                    rtsp://..., rtmp://... or http://...
  --model MODEL     a name of "sightline models list", or the path of a model
  --pace PACE       realtime or asfast, for files
  --loop            restart the source when it ends
  --for DURATION    stop after this time (20s, 5m), with a line per second
                    instead of the live view
  --lan             let cameras of other machines in, such as a phone: RTMP, and
                    over https a page for its browser; each needs the key that
                    is shown. Without it, only this machine's: OBS, a browser
  --data DIR        keep everything of the run in this folder (default: a
                    temporary one, removed at the end)
  --port PORT       port of the gallery (default: 8080, or any free port); the
                    console has 8090, or any free port
  --help            this text

Without a terminal, or with TERM=dumb, it prints a line per second, and stops
when the source ends. Console and gallery close with the demo. At the end it
prints the books; exit status 0 means that they balance.
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
          lan: { type: 'boolean' },
          port: { type: 'string' },
        },
      }),
    )
    const { GALLERY_PORT, runDemo } = await import('../../demo/main.ts')
    return runDemo({ ...values, port: portOf(values.port, GALLERY_PORT) })
  },
  isEndless: () => true,
}
