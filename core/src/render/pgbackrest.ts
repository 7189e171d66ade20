// Renders pgBackRest's configuration: of an instance, for PostgreSQL's archive command, and of one
// task of an agent. Both come from here, so that what archives and what reads agree. Pure.
import type { HostFile } from '../host-spec.ts'
import { HOST_LAYOUT } from '../host-spec.ts'
import { authority, PLATFORM_ROLES, type RenderInstance } from './model.ts'
import type { RenderRepository } from './repository.ts'

/** Where things are on the host; absolute paths. */
export interface BackupPlace {
  /** Undefined where no data directory is concerned. */
  dataDirectory?: string | undefined
  socketDirectory: string
  port: number
  spoolDirectory: string
  lockDirectory: string
  /** File that holds `caPem`, when there is one. */
  caFile: string | undefined
  patience: keyof typeof PATIENCE
}

/**
 * For how long an answer of the repository, and the archiving of a segment, are waited for.
 * `archive` is PostgreSQL's own: a leader that hands over archives one more segment before it ends,
 * so a repository that hangs makes clients wait. A failed segment is simply tried again.
 */
const PATIENCE = {
  archive: { answerSeconds: 5, archiveSeconds: 5 },
  task: { answerSeconds: 20, archiveSeconds: 60 },
  probe: { answerSeconds: 3, archiveSeconds: 60 },
} as const
const PROCESSES = 2
const COMPRESS_LEVEL = 3

type Line = readonly [key: string, value: string | number]

/**
 * Values stand on one line each, so a line break is what could change the structure; white space
 * at the ends would be cut off.
 */
function renderLine([key, value]: Line): string {
  const text = String(value)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get through.
  if (/[\u0000-\u001f\u007f]/.test(text) || text.trim() !== text || text === '') {
    throw new Error(`BUG: the value of ${key} cannot stand in a configuration file`)
  }
  return `${key}=${text}`
}

function section(name: string, lines: readonly Line[]): string {
  return `[${name}]\n${lines.map(renderLine).join('\n')}\n`
}

function storageLines(repository: RenderRepository, caFile: string | undefined): Line[] {
  const { storage, clusterId } = repository
  if (storage.kind === 'directory') {
    return [
      ['repo1-type', 'posix'],
      ['repo1-path', `${storage.path}/${clusterId}`],
    ]
  }
  const prefix = storage.prefix === '' ? '' : `/${storage.prefix}`
  return [
    ['repo1-type', 's3'],
    ['repo1-path', `${prefix}/${clusterId}`],
    ['repo1-s3-endpoint', authority(storage.endpoint, storage.port)],
    ['repo1-s3-bucket', storage.bucket],
    ['repo1-s3-region', storage.region],
    ['repo1-s3-uri-style', storage.uriStyle],
    ['repo1-s3-key', storage.key],
    ['repo1-s3-key-secret', storage.secret],
    ['repo1-storage-verify-tls', 'y'],
    ...(caFile === undefined ? [] : [['repo1-storage-ca-file', caFile] as const]),
  ]
}

function cipherLines(pass: string | null): Line[] {
  if (pass === null) return [['repo1-cipher-type', 'none']]
  return [
    ['repo1-cipher-type', 'aes-256-cbc'],
    ['repo1-cipher-pass', pass],
  ]
}

export function renderPgbackrest(repository: RenderRepository, place: BackupPlace): string {
  // Many at once pays where a store is far away. On a disk it only makes each segment wait: 0.4 s,
  // which a switchover would wait, too, as PostgreSQL archives one more before it ends.
  const patience = PATIENCE[place.patience]
  const isFar = repository.storage.kind === 's3'
  const global: Line[] = [
    ...storageLines(repository, place.caFile),
    ...cipherLines(repository.cipherPass),
    ['repo1-bundle', 'y'],
    // What is kept is the policy's to decide, in a step of its own.
    ['expire-auto', 'n'],
    ['compress-type', 'zst'],
    ['compress-level', COMPRESS_LEVEL],
    ['process-max', PROCESSES],
    ['start-fast', 'y'],
    ['archive-async', isFar ? 'y' : 'n'],
    ['archive-push-queue-max', repository.queueBytesMax],
    ['archive-timeout', patience.archiveSeconds],
    ['io-timeout', patience.answerSeconds],
    ['spool-path', place.spoolDirectory],
    ['lock-path', place.lockDirectory],
    ['log-level-file', 'off'],
    ['log-level-console', 'off'],
    ['log-level-stderr', 'warn'],
  ]
  const stanza: Line[] =
    place.dataDirectory === undefined
      ? []
      : [
          ['pg1-path', place.dataDirectory],
          ['pg1-socket-path', place.socketDirectory],
          ['pg1-port', place.port],
          ['pg1-user', PLATFORM_ROLES.superuser],
        ]
  return (
    section('global', global) + (stanza.length === 0 ? '' : section(repository.clusterId, stanza))
  )
}

/** Where an instance's archiving keeps its things. */
export function backupPlaceOf(instance: RenderInstance, hasCa: boolean): BackupPlace {
  const { root } = instance.host.facts
  const data = `${root}/${HOST_LAYOUT.data}/${instance.id}`
  return {
    dataDirectory: `${data}/pgdata`,
    socketDirectory: `${root}/${HOST_LAYOUT.run}`,
    port: instance.postgresPort,
    spoolDirectory: `${data}/spool`,
    lockDirectory: `${data}/lock`,
    caFile: hasCa ? `${root}/${HOST_LAYOUT.config}/${instance.id}/repository-ca.crt` : undefined,
    patience: 'archive',
  }
}

/** What an instance needs on its host to archive; nothing where its host cannot. */
export interface InstanceBackup {
  directories: string[]
  files: HostFile[]
  /** Settings of PostgreSQL. */
  parameters: Record<string, string>
}

export function renderInstanceBackup(
  repository: RenderRepository | undefined,
  instance: RenderInstance,
): InstanceBackup {
  const none = { directories: [], files: [], parameters: { archive_mode: 'off' } }
  if (repository === undefined || instance.host.facts.programs['pgbackrest'] === undefined) {
    return none
  }
  const { root } = instance.host.facts
  const caPem = repository.storage.kind === 's3' ? repository.storage.caPem : null
  const config = `${HOST_LAYOUT.config}/${instance.id}`
  const data = `${HOST_LAYOUT.data}/${instance.id}`
  const content = renderPgbackrest(repository, backupPlaceOf(instance, caPem !== null))
  // The root and the ids hold nothing that a shell or a `%` would make something of.
  const program = `pgbackrest --config=${root}/${config}/pgbackrest.conf`
  return {
    directories: [`${data}/spool`, `${data}/lock`],
    files: [
      { path: `${config}/pgbackrest.conf`, content },
      ...(caPem === null ? [] : [{ path: `${config}/repository-ca.crt`, content: caPem }]),
    ],
    parameters: {
      archive_mode: 'on',
      archive_command: `${program} --stanza=${repository.clusterId} archive-push "%p"`,
    },
  }
}
