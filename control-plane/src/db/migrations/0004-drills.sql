-- Reports of drills; they outlive the cluster that was drilled.
-- breaking: no. locks taken: none that matter, the table is new.

create table drill (
  id text primary key,
  kind text not null,
  cluster_id text not null,
  operation_id text not null,
  report jsonb,
  created_at timestamptz not null default now()
);
create index drill_cluster on drill (cluster_id, id desc);
