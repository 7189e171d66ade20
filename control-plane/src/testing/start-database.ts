// Owns a platform database of a test's own: a real PostgreSQL with the platform's tables, and what
// a cluster in it is like where that does not matter.
import type { ClusterSpec } from '@howdah/core/contract/clusters.ts'
import { pino } from 'pino'
import { type Database, openDatabase } from '../database.ts'
import { migrate } from '../db/migrate.ts'
import { startPostgres } from './start-postgres.ts'

export interface TestDatabase {
  database: Database
  /** For whoever needs connections of their own. */
  url: string
  stop(): Promise<void>
}

export const SPEC: ClusterSpec = {
  postgres_version: '15',
  instances: 1,
  gateways: 1,
  durability: 'async',
  sensitivity: 'balanced',
  maintenance: false,
  parameters: {},
  labels: {},
}

export async function startDatabase(): Promise<TestDatabase> {
  const postgres = await startPostgres()
  const url = postgres.url('postgres')
  const database = openDatabase(url, pino({ level: 'silent' }))
  await migrate(database)
  return {
    database,
    url,
    async stop() {
      await database.close()
      await postgres.stop()
    },
  }
}
