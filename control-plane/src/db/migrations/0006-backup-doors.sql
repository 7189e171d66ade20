-- Doors through which a backup that runs beside a replica reads the few files that only its leader has.
-- breaking: no. locks taken: none on existing tables.

create table backup_door (
  operation_id text primary key references operation on delete cascade,
  cluster_id text not null references cluster on delete cascade,
  -- The leader's; its host opens the door for as long as the operation runs.
  instance_id text not null references instance on delete cascade,
  host_id text not null,
  port integer not null,
  -- The name that whoever comes through must prove: the replica's.
  client text not null
);
