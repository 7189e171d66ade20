-- Whose heartbeats an agent does not hear: readiness says so, as a failover would be slow.
-- breaking: no. locks taken: access exclusive on host, briefly.
alter table host add column unheard jsonb not null default '[]';
