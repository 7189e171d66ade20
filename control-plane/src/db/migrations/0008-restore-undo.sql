-- What an undo of a restore needs besides the data, and which moments restores have taken back.
-- breaking: yes, for a restore or undo that runs meanwhile. locks taken: access exclusive on restore_undo, briefly.

-- Whoever is at it now, a further restore or the undo: an earlier one that is tried again must not touch the data.
-- (operation_id, since 0005.)
alter table restore_undo add column created_at timestamptz not null default now();
-- Who led: another one might lack what was written last. Null where nobody did.
alter table restore_undo add column leader_id text;
-- All that the archive held: the undo has it forget any other. Null where nobody knows; then it forgets nothing.
alter table restore_undo add column timelines integer[];
-- Whose data was set aside; null until that is done for all.
alter table restore_undo add column instances text[];
update restore_undo set timelines = array(select generate_series(1, timeline)) where timeline > 0;
alter table restore_undo drop column timeline;

-- What a restore in place has left behind, on a timeline that nothing follows. Outlives the cluster, as its backups do.
create table taken_back (
  cluster_id text not null,
  operation_id text not null,
  -- The last moment that the restore has kept and its place in WAL, and when it was made.
  from_at timestamptz not null,
  lsn text not null,
  to_at timestamptz not null default now(),
  primary key (cluster_id, operation_id)
);
