// Renders pgBackRest's configuration: of an instance, for PostgreSQL's archive command, and of one
// task of an agent. Both come from here, so that what archives and what reads agree. Pure.
import type { HostFile, HostService } from '../host-spec.ts'
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
  /** File that holds `caPem`, when there is one; and of the second repository. */
  caFile: string | undefined
  secondCaFile?: string | undefined
  patience: keyof typeof PATIENCE
  /** Set where the data is a replica's: the way to its leader. */
  leader?: LeaderDoor | undefined
}

/** Reached over TLS, as the instance whose files these are. */
export interface LeaderDoor {
  address: string
  port: number
  dataDirectory: string
  socketDirectory: string
  postgresPort: number
  caFile: string
  certificateFile: string
  keyFile: string
  /** Of the leader's host: what serves the door. */
  configFile: string
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
const CA_FILE = 'repository-ca.crt'
const SECOND_CA_FILE = 'repository-ca-2.crt'

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

/** Of the first or second repository that is asked, or written to, at once. */
function repositoryLines(
  number: number,
  repository: RenderRepository,
  caFile: string | undefined,
): Line[] {
  const lines: Line[] = [
    ...storageLines(repository, caFile),
    ...cipherLines(repository.cipherPass),
    ['repo1-bundle', 'y'],
  ]
  return lines.map(([key, value]) => [key.replace(/^repo1/, `repo${number}`), value])
}

function cipherLines(pass: string | null): Line[] {
  if (pass === null) return [['repo1-cipher-type', 'none']]
  return [
    ['repo1-cipher-type', 'aes-256-cbc'],
    ['repo1-cipher-pass', pass],
  ]
}

export function renderPgbackrest(repository: RenderRepository, place: BackupPlace): string {
  // All that waits at once pays where a store is far away; and of two places a sound one gets what
  // comes after a segment that the other refuses, as when it was emptied and is being left. On one
  // disk it only makes each segment wait: 0.4 s, which a switchover would wait, too, as PostgreSQL
  // archives one more before it ends.
  const patience = PATIENCE[place.patience]
  const { second } = repository
  const isAtOnce = repository.storage.kind === 's3' || second !== undefined
  const global: Line[] = [
    ...repositoryLines(1, repository, place.caFile),
    ...(second === undefined ? [] : repositoryLines(2, second, place.secondCaFile)),
    // What is kept is the policy's to decide, in a step of its own.
    ['expire-auto', 'n'],
    ['compress-type', 'zst'],
    ['compress-level', COMPRESS_LEVEL],
    ['process-max', PROCESSES],
    ['start-fast', 'y'],
    ['archive-async', isAtOnce ? 'y' : 'n'],
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
          ...leaderLines(place.leader),
        ]
  return (
    section('global', global) + (stanza.length === 0 ? '' : section(repository.clusterId, stanza))
  )
}

function leaderLines(leader: LeaderDoor | undefined): Line[] {
  if (leader === undefined) return []
  return [
    ['pg2-path', leader.dataDirectory],
    ['pg2-socket-path', leader.socketDirectory],
    ['pg2-port', leader.postgresPort],
    ['pg2-user', PLATFORM_ROLES.superuser],
    ['pg2-host', leader.address],
    ['pg2-host-type', 'tls'],
    ['pg2-host-port', leader.port],
    ['pg2-host-ca-file', leader.caFile],
    ['pg2-host-cert-file', leader.certificateFile],
    ['pg2-host-key-file', leader.keyFile],
    ['pg2-host-config', leader.configFile],
  ]
}

/** Where an instance's archiving keeps its things. */
export function backupPlaceOf(
  instance: RenderInstance,
  hasCa: { first: boolean; second: boolean },
): BackupPlace {
  const { root } = instance.host.facts
  const data = `${root}/${HOST_LAYOUT.data}/${instance.id}`
  const config = `${root}/${HOST_LAYOUT.config}/${instance.id}`
  return {
    dataDirectory: `${data}/pgdata`,
    socketDirectory: `${root}/${HOST_LAYOUT.run}`,
    port: instance.postgresPort,
    spoolDirectory: `${data}/spool`,
    lockDirectory: `${data}/lock`,
    caFile: hasCa.first ? `${config}/${CA_FILE}` : undefined,
    secondCaFile: hasCa.second ? `${config}/${SECOND_CA_FILE}` : undefined,
    patience: 'archive',
  }
}

/** What lets a backup in that runs beside a replica; nothing while there is none. */
export function renderDoor(
  clusterId: string,
  instance: RenderInstance,
): { files: HostFile[]; services: HostService[] } {
  const { door } = instance
  if (door === undefined) return { files: [], services: [] }
  const { root } = instance.host.facts
  const config = `${HOST_LAYOUT.config}/${instance.id}`
  const path = (name: string) => `${root}/${config}/door.${name}`
  const content = section('global', [
    ['tls-server-address', instance.host.address],
    ['tls-server-port', door.port],
    ['tls-server-ca-file', path('ca')],
    ['tls-server-cert-file', path('crt')],
    ['tls-server-key-file', path('key')],
    // This replica, and nothing but this cluster's data.
    ['tls-server-auth', `${door.client}=${clusterId}`],
    ['lock-path', `${root}/${HOST_LAYOUT.data}/${instance.id}/lock`],
    ['log-level-file', 'off'],
    ['log-level-console', 'off'],
    ['log-level-stderr', 'warn'],
  ])
  const files = [
    { path: `${config}/door.conf`, content },
    { path: `${config}/door.ca`, content: door.tls.caPem },
    { path: `${config}/door.crt`, content: door.tls.certificatePem },
    { path: `${config}/door.key`, content: door.tls.keyPem },
  ]
  const service: HostService = {
    name: `pgbackrest-${instance.id}`,
    owner: clusterId,
    program: 'pgbackrest',
    args: [`--config=${path('conf')}`, 'server'],
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
    restartOn: files.map((file) => file.path),
    reloadOn: [],
    reloadSignal: 'SIGHUP',
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 5000,
    probe: { kind: 'tcp', address: instance.host.address, port: door.port },
  }
  return { files, services: [service] }
}

export function caPemOf(repository: RenderRepository | undefined): string | null {
  return repository?.storage.kind === 's3' ? repository.storage.caPem : null
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
  const caPem = caPemOf(repository)
  const secondCaPem = caPemOf(repository.second)
  const config = `${HOST_LAYOUT.config}/${instance.id}`
  const data = `${HOST_LAYOUT.data}/${instance.id}`
  const hasCa = { first: caPem !== null, second: secondCaPem !== null }
  const content = renderPgbackrest(repository, backupPlaceOf(instance, hasCa))
  // The root and the ids hold nothing that a shell or a `%` would make something of.
  const program = `pgbackrest --config=${root}/${config}/pgbackrest.conf`
  return {
    directories: [`${data}/spool`, `${data}/lock`],
    files: [
      { path: `${config}/pgbackrest.conf`, content },
      ...(caPem === null ? [] : [{ path: `${config}/${CA_FILE}`, content: caPem }]),
      ...(secondCaPem === null
        ? []
        : [{ path: `${config}/${SECOND_CA_FILE}`, content: secondCaPem }]),
    ],
    parameters: {
      archive_mode: 'on',
      archive_command: `${program} --stanza=${repository.clusterId} archive-push "%p"`,
    },
  }
}
