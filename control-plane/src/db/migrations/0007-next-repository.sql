-- A cluster that changes its repository archives to both until the new one has a backup.
-- breaking: no. locks taken: access exclusive on stanza, briefly.

-- Archived to besides the active one, and not read yet.
alter table stanza add column next boolean not null default false;
drop index stanza_one_active;
create unique index stanza_one_active on stanza (cluster_id) where retired_at is null and not next;
create unique index stanza_one_next on stanza (cluster_id) where next;
