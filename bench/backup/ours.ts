// Owns our side of the benches of backups: the program with the configuration that the platform
// renders, started by the functions with which an agent does it. What an operation adds around
// them, a second or two whatever the size, is not in these figures.
import { chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ListedBackup, parseRepositoryAnswer } from '@howdah/core/backup-info.ts'
import type { RepositoryAccess } from '@howdah/core/protocol.ts'
import { type BackupPlace, renderPgbackrest } from '@howdah/core/render/pgbackrest.ts'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import type { HostRoot } from '../../agent/src/host-root.ts'
import { restoreData } from '../../agent/src/tasks/recover-data.ts'
import { runPgbackrest } from '../../agent/src/tasks/repository.ts'
import type { TestS3 } from '../../test/harness/s3.ts'

export interface OurRepository {
  name: string
  /** What a PostgreSQL of the source's archives with. */
  archiveCommand: string
  prepare(): Promise<void>
  /** With as many processes as the platform takes, unless told. */
  backUp(type: 'full' | 'incr', processes?: number): Promise<ListedBackup>
  /** Into `data/<name>/pgdata` of the root, which is made anew; returns that directory. */
  restore(label: string, name: string): Promise<string>
  /** The program and the options that lead it to the repository, from a place of its own. */
  writeConfiguration(name: string): Promise<string[]>
}

interface OurOptions {
  name: string
  root: HostRoot
  /** Of the source, below `data` of the root. */
  source: string
  port: number
  storage: RenderRepository['storage']
}

const STANZA = 'clu_00000000000000000000000001'
const TIMEOUT_MS = 1_800_000
const QUEUE_BYTES = 16 * 1024 ** 3

export function storageOf(store: TestS3): RenderRepository['storage'] {
  const { endpoint, port, bucket, key, secret, caPem } = store
  const s3 = { endpoint, port, bucket, key, secret, caPem }
  const prefix = 'ours'
  return { kind: 's3', region: 'us-east-1', uriStyle: 'path', prefix, allowPrivate: true, ...s3 }
}

export async function openOurs(options: OurOptions): Promise<OurRepository> {
  const { root, storage, source } = options
  const context = () => ({ root, timeoutMs: TIMEOUT_MS, signal: AbortSignal.timeout(TIMEOUT_MS) })
  if (storage.kind === 'directory') {
    await mkdir(storage.path, { recursive: true })
    await chown(storage.path, root.serviceUser.uid, root.serviceUser.gid)
  }
  const run = async (command: 'stanza-create' | 'backup' | 'info', more: string[]) => {
    const repository = accessOf(options, source)
    const action = { kind: 'pgbackrest' as const, repository, command, operands: [] }
    return (await runPgbackrest({ ...action, options: more }, context())).output
  }
  const configuration = await writeConfiguration(options, source)
  return {
    name: options.name,
    archiveCommand: `${configuration.join(' ')} archive-push "%p"`,
    prepare: async () => void (await run('stanza-create', ['--no-online'])),
    async backUp(type, processes) {
      const told = processes === undefined ? [] : [`--process-max=${processes}`]
      await run('backup', [`--type=${type}`, ...told])
      const { backups } = parseRepositoryAnswer(await run('info', ['--output=json']), STANZA)
      return backups.toSorted((a, b) => a.label.localeCompare(b.label)).at(-1) as ListedBackup
    },
    async restore(label, name) {
      const dataDirectory = join('data', name, 'pgdata')
      const repository = accessOf(options, name)
      await rm(join(root.path, 'data', name), { recursive: true, force: true })
      const place = { spec: undefined, appliedRevision: -1 }
      const action = { kind: 'restore-data' as const, repository, dataDirectory, label }
      await restoreData(action, { ...context(), ...place })
      return join(root.path, dataDirectory)
    },
    writeConfiguration: (name) => writeConfiguration(options, name),
  }
}

function placeOf({ root, port }: OurOptions, name: string, caFile?: string): BackupPlace {
  const data = join(root.path, 'data', name)
  return {
    dataDirectory: join(data, 'pgdata'),
    socketDirectory: join(root.path, 'run'),
    port,
    spoolDirectory: join(data, 'spool'),
    lockDirectory: join(data, 'lock'),
    caFile,
    patience: 'task',
  }
}

function repositoryOf({ storage }: OurOptions): RenderRepository {
  const ids = { repositoryId: 'rep_1', clusterId: STANZA }
  return { ...ids, storage, cipherPass: 'a-pass-of-this-bench', queueBytesMax: QUEUE_BYTES }
}

function accessOf(options: OurOptions, name: string): RepositoryAccess {
  const { storage } = options
  const isS3 = storage.kind === 's3'
  return {
    config: renderPgbackrest(repositoryOf(options), placeOf(options, name)),
    caPem: isS3 ? storage.caPem : null,
    stanza: STANZA,
    endpoint: isS3 ? { host: storage.endpoint, allowPrivate: storage.allowPrivate } : null,
  }
}

/** As an instance has it on its host: PostgreSQL calls the program itself. */
async function writeConfiguration(options: OurOptions, name: string): Promise<string[]> {
  const { root, storage } = options
  const { uid, gid } = root.serviceUser
  const base = join(root.path, 'config', `${options.name}-${name}`)
  const write = async (path: string, text: string) => {
    await writeFile(path, text, { mode: 0o600 })
    await chown(path, uid, gid)
  }
  const isS3 = storage.kind === 's3'
  if (isS3 && storage.caPem !== null) await write(`${base}.crt`, storage.caPem)
  const place = placeOf(options, name, isS3 ? `${base}.crt` : undefined)
  await write(`${base}.conf`, renderPgbackrest(repositoryOf(options), place))
  return ['pgbackrest', `--config=${base}.conf`, `--stanza=${STANZA}`]
}
