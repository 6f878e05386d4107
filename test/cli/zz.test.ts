import t from 'tap'
t.test('fine', async (t) => t.ok(true))
t.test('left out', { skip: 'no reason' }, async (t) => t.ok(true))
t.test('todo', { todo: true }, async (t) => t.ok(true))
if (process.env.ZZ === 'fail') t.test('bad', async (t) => t.equal(1, 2))
if (process.env.ZZ === 'crash') setTimeout(() => { throw new Error('boom') })
if (process.env.ZZ === 'kill') process.kill(process.pid, 'SIGKILL')
if (process.env.ZZ === 'import') await import('./nope.ts' as string)
