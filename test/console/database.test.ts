import { join } from 'node:path'
import t from 'tap'
import { freshPostgres, POSTGRES_URL } from '../kit/postgres.ts'
import { databaseContract } from './database-contract.ts'

t.test('SQLite', (t) => {
  databaseContract(t, {
    place: async (t) => ({ type: 'sqlite', file: join(t.testdir(), 'in', 'console.db') }),
  })
  t.end()
})

t.test('PostgreSQL', { skip: POSTGRES_URL ? false : 'SIGHTLINE_TEST_POSTGRES is not set' }, (t) => {
  databaseContract(t, { place: async (t) => ({ type: 'postgres', url: await freshPostgres(t) }) })
  t.end()
})
