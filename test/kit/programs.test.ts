import { spawnSync } from 'node:child_process'
import t from 'tap'
import { brokerConfig, Program } from './programs.ts'

const LINUX = process.platform === 'linux'
const hasDebugger = spawnSync('gdb', ['--version']).status === 0

t.test(
  'of a program that is waited for in vain one reads what each thread does',
  { skip: !LINUX },
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const { message } = (await t.rejects(broker.line(() => false, 1))) as Error
    const threads = message.match(/^\d+ \S+ [RSD] \S+: (\d+ 0x.*|running)$/gm) ?? []
    const names = threads.map((line) => line.split(' ')[1])
    t.ok(names.includes('V8Worker') && names.includes('libuv-worker'), names.join(' '))
    const ids = threads.map((line) => line.split(' ')[0])
    for (const id of ids) t.equal(ids.filter((it) => it === id).length, 2, 'each of them twice')
    if (!hasDebugger) return
    const [, ...calls] = message.split(/^Thread \d+ /m)
    t.equal(calls.length, new Set(ids).size, 'the calls of each of them')
    t.match(calls.join(), /^#\d+ .*epoll_/m)
    t.equal(await broker.stop(), 0, 'it goes on')
  },
)
