import t from 'tap'
import { brokerConfig } from '../kit/programs.ts'
import { configFile, Sightline } from './sightline.ts'

t.test('Ctrl-C, which reaches the launcher and the program, is one wish to stop: it drains', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))])
    await broker.line(({ msg }) => msg === 'broker ready')
    broker.killGroup(signal)
    const { status } = await broker.end()
    t.equal(status, 0, signal)
    t.strictSame(
      broker.log.slice(-3).map(({ msg }) => msg),
      ['draining', 'books', 'stopped'],
    )
  }
})

t.test('a signal to the launcher alone reaches the program', async (t) => {
  const broker = Sightline.start(t, ['broker', '--config', configFile(t, brokerConfig(t))])
  await broker.line(({ msg }) => msg === 'broker ready')
  broker.kill('SIGTERM')
  t.equal((await broker.end()).status, 0)
  t.equal(broker.log.at(-1)?.msg, 'stopped')
})

t.test('a second wish to stop, later, ends a program that drains for long', async (t) => {
  // Nobody takes its crops: it drains until its deadline.
  const config = { http: { port: 0 }, broker: { url: 'mqtt://127.0.0.1:1' }, drain: { deadline: '60s' } }
  const device = Sightline.start(t, ['device', '--config', configFile(t, config)])
  await device.until(() =>
    device.log.some(({ code, pending }) => code === 'BROKER_UNREACHABLE' && Number(pending) > 0),
  )
  device.kill('SIGTERM')
  await device.line(({ msg }) => msg === 'draining')
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.notOk(device.ended)
  device.kill('SIGTERM')
  const { status, sentence } = await device.end()
  t.equal(status, 75)
  t.match(sentence, 'told to stop a second time')
})
