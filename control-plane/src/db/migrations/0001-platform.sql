-- The platform's state: who may do what, the hosts, the clusters as they are wanted, operations and events.
-- breaking: no. locks taken: none that matter, all tables are new.

create table app_user (
  id text primary key,
  name text not null unique,
  full_name text not null default '',
  role text not null check (role in ('administrator', 'operator', 'viewer')),
  version integer not null default 1,
  created_at timestamptz not null default now()
);

create table token (
  id text primary key,
  user_id text not null references app_user on delete cascade,
  name text not null,
  -- SHA-256 of the token: 256 random bits need no slow hash.
  hash bytea not null unique,
  prefix text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz
);

-- Secrets are sealed with a key that is not in this database; `owner` and `name` are authenticated with them.
create table secret (
  owner text not null,
  name text not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  primary key (owner, name)
);

create table host (
  id text primary key,
  name text not null unique,
  address text not null unique,
  role text not null check (role in ('data', 'gateway')),
  source_addresses text[] not null default '{}',
  labels jsonb not null default '{}',
  -- Grows whenever something that its HostSpec is rendered from changes.
  desired_revision bigint not null default 0,
  applied_revision bigint not null default -1,
  apply_error text not null default '',
  facts jsonb,
  services jsonb not null default '[]',
  seen_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz not null default now()
);

create table enrolment_token (
  hash bytea primary key,
  host_id text not null references host on delete cascade,
  expires_at timestamptz not null,
  used_at timestamptz
);

create table dcs_member (
  host_id text primary key references host,
  name text not null unique,
  client_port integer not null,
  peer_port integer not null
);

create table dcs (
  only_one boolean primary key default true check (only_one),
  state text not null check (state in ('creating', 'available'))
);

create table cluster (
  id text primary key,
  -- A deleted cluster keeps its name until it is purged: undo must not meet a stranger.
  name text not null unique,
  spec jsonb not null,
  version integer not null default 1,
  state text not null,
  message text not null default '',
  -- Parameters as sized at creation; kept, so that a host that grows changes nothing by itself.
  share jsonb,
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  purge_at timestamptz
);

create table instance (
  id text primary key,
  cluster_id text not null references cluster on delete cascade,
  host_id text not null references host,
  number integer not null,
  name text not null unique,
  postgres_port integer not null,
  rest_port integer not null,
  -- False while stopped on purpose: its services leave the HostSpec, its data stays.
  active boolean not null default true,
  unique (cluster_id, number)
);

create table gateway (
  id text primary key,
  cluster_id text not null references cluster on delete cascade,
  host_id text not null references host,
  number integer not null,
  name text not null unique,
  ports jsonb not null,
  active boolean not null default true,
  unique (cluster_id, number)
);

create table port_allocation (
  host_id text not null references host on delete cascade,
  port integer not null,
  owner text not null,
  primary key (host_id, port)
);

create table operation (
  id text primary key,
  kind text not null,
  title text not null,
  state text not null check (state in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
  cluster_id text references cluster on delete set null,
  -- Kept apart from the cluster: an operation outlives what it worked on.
  cluster_name text,
  input jsonb not null,
  attempt integer not null default 1,
  cancel_requested boolean not null default false,
  error jsonb,
  created_by text not null,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  ended_at timestamptz
);
-- One mutating operation per cluster at a time, whoever asks, however many control planes run.
create unique index operation_one_per_cluster on operation (cluster_id)
  where state in ('pending', 'running');
create index operation_created on operation (id desc);

create table operation_step (
  operation_id text not null references operation on delete cascade,
  position integer not null,
  name text not null,
  title text not null,
  state text not null check (state in ('pending', 'running', 'succeeded', 'failed', 'skipped')),
  message text not null default '',
  -- Where DBOS recorded it: a retry rewinds to here.
  workflow_step integer,
  started_at timestamptz,
  ended_at timestamptz,
  primary key (operation_id, name)
);

create table task (
  id text primary key,
  host_id text not null references host on delete cascade,
  operation_id text,
  -- Sealed: an action may hold a password.
  action bytea not null,
  timeout_ms integer not null,
  state text not null check (state in ('pending', 'done')),
  result jsonb,
  created_at timestamptz not null default now(),
  ended_at timestamptz
);
create index task_pending on task (host_id) where state = 'pending';

create table event (
  id bigint generated always as identity primary key,
  kind text not null,
  message text not null,
  cluster_id text,
  host_id text,
  operation_id text,
  data jsonb not null default '{}',
  at timestamptz not null default clock_timestamp()
);
create index event_operation on event (operation_id, id) where operation_id is not null;
create index event_cluster on event (cluster_id, id) where cluster_id is not null;

create table idempotency (
  user_id text not null references app_user on delete cascade,
  key text not null,
  fingerprint bytea not null,
  status integer,
  -- Sealed: the reply to a creation holds a password.
  reply bytea,
  created_at timestamptz not null default now(),
  primary key (user_id, key)
);

-- Workers that run operations; one that stops beating has its operations recovered by another.
create table worker (
  id text primary key,
  seen_at timestamptz not null default now()
);
