/**
 * A real PostgreSQL for tests: SIGHTLINE_TEST_POSTGRES=postgres://user:password@host:port/database names it; its user makes
 * databases. Where it is unset the tests that need it say so and are skipped.
 */
export const postgresUrl: string | undefined = process.env.SIGHTLINE_TEST_POSTGRES || undefined
/** For tap's `skip`. */
export const skipWithoutPostgres: string | false = postgresUrl
  ? false
  : 'SIGHTLINE_TEST_POSTGRES names no PostgreSQL'
