// Owns what renderers take of a repository, with its secrets opened.

export interface S3Storage {
  kind: 's3'
  endpoint: string
  port: number
  bucket: string
  region: string
  uriStyle: 'host' | 'path'
  /** Without a slash at either end; may be empty. */
  prefix: string
  key: string
  secret: string
  /** The authority of the endpoint, where it is none that the system trusts. */
  caPem: string | null
  /** Whether the endpoint may be in a private network; agents check. */
  allowPrivate: boolean
}

export interface DirectoryStorage {
  kind: 'directory'
  path: string
}

/** Where a cluster archives to. */
export interface RenderRepository {
  repositoryId: string
  /** The id of the cluster: name of the stanza, and last part of the path. */
  clusterId: string
  storage: DirectoryStorage | S3Storage
  /** Null only for a test of the repository itself, which belongs to no cluster. */
  cipherPass: string | null
  /** WAL that waits longer than this is given up, loudly: the disk of the leader comes first. */
  queueBytesMax: number
  /**
   * Archived to as well, while a cluster changes its repository; and where a replay finds what came
   * after such a change.
   */
  second?: RenderRepository
}
