import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { editFile } from '../../lib/edit-file.ts'

const EDITOR = join(import.meta.dirname, '../../lib/edit-file.ts')
const append = (text: string) => ({ change: (before = '') => before + text, check: () => {} })
const fileIn = (folder: string) => {
  const file = join(folder, 'list.yaml')
  writeFileSync(file, 'a')
  return file
}

t.test('who is killed in an edit does not block the next, and has changed nothing', async (t) => {
  const folder = t.testdir()
  const file = fileIn(folder)
  for (const where of ['change', 'check']) {
    const script = `
      import { editFile } from ${JSON.stringify(EDITOR)}
      const die = () => process.kill(process.pid, 'SIGKILL')
      await editFile(${JSON.stringify(file)}, { change: () => 'half', check: () => {}, ${where}: die })`
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const [, signal] = await once(child, 'exit')
    t.equal(signal, 'SIGKILL')
    t.ok(readdirSync(folder).length > 1, 'it has left something')
  }
  await editFile(file, append('b'))
  t.equal(readFileSync(file, 'utf8'), 'ab')
  t.strictSame(readdirSync(folder), ['list.yaml'])
})

t.test('who is at it is waited for, and not for ever', async (t) => {
  const file = fileIn(t.testdir())
  const lock = `${file}.lock`
  const isMine = `${process.pid} ${hostname()}`
  // Of another container nobody knows; of nobody neither.
  for (const by of [isMine, '999999999 another-host', '']) {
    writeFileSync(lock, by)
    await t.rejects(editFile(file, append('b')), { code: 'FOLDER_UNWRITABLE' })
    t.equal(readFileSync(file, 'utf8'), 'a')
  }
  writeFileSync(lock, isMine)
  const ago = Date.now() / 1000 - 61
  utimesSync(lock, ago, ago)
  await editFile(file, append('b'))
  t.equal(readFileSync(file, 'utf8'), 'ab')
  t.equal(existsSync(lock), false)
})

t.test('twenty at once: each has its change', async (t) => {
  const file = fileIn(t.testdir())
  await Promise.all(Array.from({ length: 20 }, () => editFile(file, append('b'))))
  t.equal(readFileSync(file, 'utf8'), `a${'b'.repeat(20)}`)
})

t.test('who has been taken over from changes nothing, and leaves the other what it holds', async (t) => {
  const folder = t.testdir()
  const file = fileIn(folder)
  const lock = `${file}.lock`
  const check = () => {
    writeFileSync(`${lock}2`, 'another')
    renameSync(`${lock}2`, lock)
  }
  await t.rejects(editFile(file, { ...append('b'), check }), {
    code: 'FOLDER_UNWRITABLE',
    message: /took over/,
  })
  t.equal(readFileSync(file, 'utf8'), 'a')
  t.equal(readFileSync(lock, 'utf8'), 'another')
})
