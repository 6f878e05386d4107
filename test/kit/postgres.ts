import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Test } from 'tap'

/** The address of a PostgreSQL server whose user may create databases and roles. */
export const POSTGRES_URL = process.env.SIGHTLINE_TEST_POSTGRES

/** Asks the server itself. */
export async function askPostgres(text: string): Promise<void> {
  const client = new pg.Client({ connectionString: POSTGRES_URL })
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}

/** A new database, which is dropped after the test. @returns its address */
export async function freshPostgres(t: Test): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await askPostgres(`create database ${name}`)
  t.teardown(() => askPostgres(`drop database ${name} with (force)`))
  const url = new URL(POSTGRES_URL as string)
  url.pathname = name
  return url.href
}
