-- Repositories, what each cluster keeps in them, and a second lane for operations that leave a cluster as it is.
-- breaking: no. locks taken: access exclusive on operation, briefly.

create table repository (
  id text primary key,
  name text not null unique,
  kind text not null check (kind in ('directory', 's3')),
  -- Without secrets: those are sealed in the secret table, owned by the repository.
  settings jsonb not null,
  is_default boolean not null default false,
  created_at timestamptz not null default now()
);
create unique index repository_one_default on repository (is_default) where is_default;

-- What a cluster keeps in a repository. Outlives the cluster: its backups can be forked from until they expire.
create table stanza (
  cluster_id text not null,
  repository_id text not null references repository,
  cluster_name text not null,
  postgres_version text not null,
  -- Set when the cluster archives elsewhere, or is deleted: from then on it is only read.
  retired_at timestamptz,
  -- After this its backups are removed.
  expires_at timestamptz,
  -- The newest archive check.
  checked_at timestamptz,
  status jsonb,
  created_at timestamptz not null default now(),
  primary key (cluster_id, repository_id)
);
create unique index stanza_one_active on stanza (cluster_id) where retired_at is null;

create table backup (
  id text primary key,
  cluster_id text not null,
  repository_id text not null references repository,
  -- The repository's own name for it.
  label text not null,
  type text not null check (type in ('full', 'differential', 'incremental')),
  -- What the repository said of it: times, LSNs, sizes, the backups that it needs.
  info jsonb not null,
  started_at timestamptz not null,
  stopped_at timestamptz not null,
  operation_id text,
  -- The newest restore of it that was checked.
  proven_at timestamptz,
  proven_ms integer,
  -- What was found wrong with it: it is never restored from without being asked for by name.
  damage text not null default '',
  created_at timestamptz not null default now(),
  unique (cluster_id, repository_id, label)
);

create table restore_point (
  cluster_id text not null,
  name text not null,
  lsn text not null,
  at timestamptz not null,
  primary key (cluster_id, name)
);

-- The data that a restore in place has set aside, until its undo window ends.
create table restore_undo (
  cluster_id text primary key references cluster on delete cascade,
  operation_id text not null,
  directory text not null,
  timeline integer not null,
  expires_at timestamptz not null
);

-- When each schedule of a cluster runs next; a control plane takes a row by locking it.
create table schedule (
  cluster_id text not null references cluster on delete cascade,
  kind text not null check (kind in ('full', 'differential', 'incremental', 'drill')),
  cron text not null,
  next_at timestamptz not null,
  primary key (cluster_id, kind)
);

-- A backup leaves its cluster as it is, so it is in nobody's way but that of another backup.
alter table operation add column lane text not null default 'cluster' check (lane in ('cluster', 'backup'));
drop index operation_one_per_cluster;
create unique index operation_one_per_cluster on operation (cluster_id, lane)
  where state in ('pending', 'running');
