-- Operations that start later: until then they are not in anybody's way, so the unique index leaves them out.
-- breaking: no. locks taken: access exclusive on operation, briefly.

alter table operation add column start_at timestamptz;
alter table operation drop constraint operation_state_check;
alter table operation add constraint operation_state_check check
  (state in ('scheduled', 'pending', 'running', 'succeeded', 'failed', 'cancelled'));
