-- A change of leader may leave something unarchived: the archive is looked at at once.
-- breaking: no. locks taken: access exclusive on stanza, briefly.
alter table stanza add column look_soon boolean not null default false;
