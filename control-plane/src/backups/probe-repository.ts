// Owns the trial of a repository: every host that would use it writes, reads, lists and removes
// something there, and all of them must find themselves in one place, whatever it is called. Two
// names of one place would have a cluster's backups removed by way of the other.
import { randomUUID } from 'node:crypto'
import { HowdahError } from '@howdah/core/errors.ts'
import { PLACE_PATTERN } from '@howdah/core/protocol.ts'
import type { BackupPlace } from '@howdah/core/render/pgbackrest.ts'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import { type HostRow, hostState, listHosts } from '../db/hosts.ts'
import type { Platform } from '../operations/operation.ts'
import { accessOn, placeOn, runRepositoryTask } from './repository-access.ts'

const PROBE_TIMEOUT_MS = 25_000
/** Beside the directories of clusters, whose names are ids. */
const OWN_DIRECTORY = 'howdah'

/**
 * By every data host that is online: each of them will archive there, and restore from it. Returns
 * the identity of the place. Throws `repository-failed` with the host that it does not work from.
 */
export async function probeRepository(
  platform: Platform,
  storage: RenderRepository['storage'],
): Promise<string> {
  const hosts = (await listHosts(platform.database)).filter(
    (host) => host.role === 'data' && hostState(host) === 'online',
  )
  const [first, ...others] = hosts
  if (first === undefined) throw new HowdahError('no-capacity', 'no host is online to try it')
  // The first alone: where nobody was before it writes what the others must find.
  const place = await probeFrom(platform, first, storage)
  const places = await Promise.all(others.map((host) => probeFrom(platform, host, storage)))
  const stranger = others.find((_, index) => places[index] !== place)
  if (stranger === undefined) return place
  const said = `${stranger.name} and ${first.name} see different places: it is not the same storage`
  throw new HowdahError('repository-failed', said)
}

async function probeFrom(
  platform: Platform,
  host: HostRow,
  storage: RenderRepository['storage'],
): Promise<string> {
  const repository: RenderRepository = {
    repositoryId: '',
    clusterId: OWN_DIRECTORY,
    storage,
    cipherPass: null,
    queueBytesMax: 1,
  }
  const at: BackupPlace = {
    ...placeOn(host, OWN_DIRECTORY, 1),
    dataDirectory: undefined,
    patience: 'probe',
  }
  const action = {
    kind: 'probe-repository' as const,
    repository: accessOn(repository, at),
    place: randomUUID(),
  }
  const answer = await runRepositoryTask<{ place: string } | null>(
    platform,
    host.id,
    PROBE_TIMEOUT_MS,
    undefined,
    action,
  ).catch((error: unknown) => {
    if (!(error instanceof HowdahError)) throw error
    const said = `from ${host.name}: ${error.message}`
    throw new HowdahError('repository-failed', said, { cause: error.cause })
  })
  const place = answer?.place ?? ''
  if (new RegExp(PLACE_PATTERN).test(place)) return place
  const said = `from ${host.name}: its file ${OWN_DIRECTORY}/place is none of ours`
  throw new HowdahError('repository-failed', said)
}
