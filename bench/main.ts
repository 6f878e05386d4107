import { parseArgs } from 'node:util'

/**
 * `npm run bench`: everything that has a bar, side by side with what people would use instead, as ratios of one run.
 * `npm run bench -- transport backlog` runs some of them; `leak` takes `--minutes 15` and `--openings 1000`, `clip-lane` `--seconds 60`,
 * `recording` `--video 30` (minutes) and `--cameras 16`, `process` `--rounds 5`, `salvage`
 * `--copies 4` (of each of three stores, for each kind of damage), `console-database` `--rows 10000000` (and PostgreSQL too
 * where SIGHTLINE_TEST_POSTGRES is the address of an empty database; `--keep FOLDER` leaves the file for `console-pages
 * --database FILE`; of `gpu` it takes the figures as JSON). `console-live`, `console-pages` and `whip` need Chromium (SIGHTLINE_TEST_CHROMIUM). Needs Mosquitto (SIGHTLINE_TEST_MOSQUITTO, or `mosquitto` on
 * the path) and, for the device, test clips (SIGHTLINE_TEST_DATA).
 */
const BENCHES: Readonly<Record<string, () => Promise<void>>> = {
  transport: async () => {
    const { benchTransport, printTransport } = await import('./transport.ts')
    printTransport(await benchTransport())
  },
  announce: async () => {
    const { benchAnnounce, printAnnounce } = await import('./announce.ts')
    printAnnounce(await benchAnnounce())
  },
  'clip-lane': async () => {
    const { benchClipLane, printClipLane } = await import('./clip-lane.ts')
    printClipLane(await benchClipLane(Number(values.seconds)))
  },
  backlog: async () => {
    const { benchBacklog, printBacklog } = await import('./backlog.ts')
    printBacklog(await benchBacklog())
  },
  memory: async () => {
    const { benchMemory, printMemory } = await import('./memory.ts')
    printMemory(await benchMemory())
  },
  view: async () => {
    const { benchView, printView } = await import('./view.ts')
    printView(await benchView())
  },
  crossings: async () => {
    const { runCrossings } = await import('./crossings.ts')
    await runCrossings(100)
  },
  classic: async () => {
    const { benchClassic, printClassic } = await import('./classic.ts')
    printClassic(await benchClassic())
  },
  latency: async () => {
    const { benchLatency, printLatency } = await import('./latency.ts')
    printLatency(await benchLatency())
  },
  leak: async () => {
    const { benchLeak, printLeak } = await import('./leak.ts')
    printLeak(await benchLeak({ minutes: Number(values.minutes), openings: Number(values.openings) }))
  },
  salvage: async () => {
    const { benchSalvage, printSalvage } = await import('./salvage.ts')
    printSalvage(await benchSalvage(Number(values.copies)))
  },
  'console-database': async () => {
    const { benchConsoleDatabase, printConsoleDatabase } = await import('./console-database.ts')
    printConsoleDatabase(
      await benchConsoleDatabase(Number(values.rows), process.env.SIGHTLINE_TEST_POSTGRES, values.keep),
    )
  },
  'console-stream': async () => {
    const { benchConsoleStream, printConsoleStream } = await import('./console-stream.ts')
    printConsoleStream(await benchConsoleStream())
  },
  recordings: async () => {
    const { benchRecordings, printRecordings } = await import('./recordings-playback.ts')
    printRecordings(await benchRecordings())
  },
  'console-live': async () => {
    const { benchConsoleLive, printConsoleLive } = await import('./console-live.ts')
    printConsoleLive(await benchConsoleLive())
  },
  'console-pages': async () => {
    const { benchConsolePages, printConsolePages } = await import('./console-pages.ts')
    if (values.database === undefined)
      process.stdout.write(
        '\nPages: left out, for want of a database: --database FILE, as console-database --keep makes one\n',
      )
    else printConsolePages(await benchConsolePages(values.database))
  },
  desired: async () => {
    const { benchDesired, printDesired } = await import('./desired.ts')
    printDesired(await benchDesired())
  },
  notice: async () => {
    const { benchNotice, printNotice } = await import('./notice.ts')
    printNotice(await benchNotice())
  },
  signing: async () => {
    const { benchSigning, printSigning } = await import('./signing.ts')
    printSigning(await benchSigning())
  },
  arrivals: async () => {
    const { benchArrivals, printArrivals } = await import('./arrivals.ts')
    printArrivals(await benchArrivals())
  },
  rules: async () => {
    const { benchRules, printRules } = await import('./rules.ts')
    printRules(await benchRules())
    const { benchRulesConsole, printRulesConsole } = await import('./rules-console.ts')
    printRulesConsole(await benchRulesConsole())
  },
  rtmp: async () => {
    const { benchRtmp, printRtmp } = await import('./rtmp.ts')
    printRtmp(await benchRtmp())
  },
  whip: async () => {
    const { benchWhip, printWhip } = await import('./whip.ts')
    printWhip(await benchWhip())
  },
  gpu: async () => {
    const { benchGpu, printGpu } = await import('./gpu.ts')
    printGpu(await benchGpu(), values.keep)
  },
  device: async () => {
    const { benchDevice, printDevice } = await import('./device.ts')
    const result = await benchDevice()
    if (result) printDevice(result)
    else
      process.stdout.write(
        '\nDevice: left out, for want of test clips: set SIGHTLINE_TEST_DATA to the folder that holds video/ and models/\n',
      )
  },
  workers: async () => {
    const { benchWorkers, printWorkers } = await import('./workers.ts')
    printWorkers(await benchWorkers())
  },
  inference: async () => {
    const { benchInference, printInference } = await import('./inference.ts')
    printInference(await benchInference())
  },
  process: async () => {
    const { benchProcess, printProcess } = await import('./process.ts')
    const result = await benchProcess(Number(values.rounds))
    if (result) printProcess(result)
    else process.stdout.write('\nSecond looks: left out, for want of test clips (SIGHTLINE_TEST_DATA)\n')
  },
  recording: async () => {
    const { benchRecording, printRecording } = await import('./recording.ts')
    const result = await benchRecording(Number(values.cameras), Number(values.video))
    if (result) printRecording(result)
    else process.stdout.write('\nRecording: left out, for want of test clips (SIGHTLINE_TEST_DATA)\n')
  },
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '15' },
    seconds: { type: 'string', default: '60' },
    openings: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '5' },
    copies: { type: 'string', default: '4' },
    cameras: { type: 'string', default: '16' },
    video: { type: 'string', default: '30' },
    rows: { type: 'string', default: '10000000' },
    keep: { type: 'string' },
    database: { type: 'string' },
  },
})
for (const [name, value] of Object.entries({ ...values, keep: 1, database: 1 }))
  if (!(Number(value) > 0)) throw new Error(`--${name} must be a number above 0, not "${value}".`)
for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHES)) {
  const bench = BENCHES[name]
  if (!bench)
    throw new Error(`There is no benchmark "${name}". There are: ${Object.keys(BENCHES).join(', ')}.`)
  process.stdout.write(`\n${name} ...\n`)
  await bench()
}
