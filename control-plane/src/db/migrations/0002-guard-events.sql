-- What agents saw and did by themselves while they guarded a cluster; failovers are read from it.
-- breaking: no. locks taken: none that matter, the table is new.

create table guard_event (
  id uuid primary key,
  cluster_id text not null,
  host_id text not null,
  at timestamptz not null,
  -- As the agent sent it; parsed by core's protocol.
  event jsonb not null
);
create index guard_event_cluster on guard_event (cluster_id, at desc);
