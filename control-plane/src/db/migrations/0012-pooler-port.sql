-- The pooler for writes reaches the leader over a port of its own, the fifth of its gateway's ten.
-- breaking: no. locks taken: row locks on gateway and port_allocation, briefly.
update gateway set ports = ports || jsonb_build_object('pooler', (ports->>'write')::integer + 4);
insert into port_allocation (host_id, port, owner)
  select gateway.host_id, (gateway.ports->>'pooler')::integer, gateway.id
  from gateway
  where exists (select from port_allocation where owner = gateway.id);
