// Owns how a new cluster's data directory is made by initdb, whoever runs it: Patroni for the
// cluster, or an agent ahead of time, so that a spare one is there when a cluster is asked for.
import { HOST_LAYOUT } from './host-spec.ts'

/** Options of initdb, as pairs; a flag has no value. */
export const INITDB_OPTIONS: readonly (readonly [name: string, value?: string])[] = [
  ['data-checksums'],
  ['encoding', 'UTF8'],
  ['locale', 'C.UTF-8'],
]

/** Beside the instances: it is taken by renaming it, which needs the same file system. */
export const SPARES = `${HOST_LAYOUT.data}/spare`

/** One that was made with other options has another name, and is not taken. */
export function spareDirectory(postgresVersion: string): string {
  return `${SPARES}/${[postgresVersion, ...INITDB_OPTIONS.flat()].join('-')}`
}
