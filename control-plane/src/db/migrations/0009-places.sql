-- A repository knows its place whatever it is called, and a stanza whether what is there is its own.
-- breaking: no. locks taken: access exclusive on repository, stanza and task, briefly.

-- What stands in the place itself: two names of one place are found out. Null until somebody has looked.
alter table repository add column place text unique;
-- Grows with each change: the ETag.
alter table repository add column version integer not null default 1;

-- False until the place was seen to be empty: what was there before is nobody's to remove.
alter table stanza add column claimed boolean not null default true;

-- Nobody waits for an abandoned task, and it goes on where it runs; a withdrawn one is ended there.
alter table task drop constraint task_state_check;
alter table task add constraint task_state_check check (state in ('pending', 'done', 'abandoned', 'withdrawn'));
create index task_withdrawn on task (host_id) where state = 'withdrawn';
