-- What came of the canaries that an agent sent through its gateways, as it said with its last report.
-- breaking: no. locks taken: access exclusive on host, briefly.
alter table host add column canaries jsonb not null default '[]';
