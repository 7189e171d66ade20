// Owns the peers: Patroni with HAProxy and PgBouncer as others configure them. What a source does
// not say is left at the program's own default.

export interface PeerSettings {
  name: string
  source: string
  /** The dynamic configuration; what is left out is Patroni's default. */
  dynamic: Record<string, unknown>
  /** HAProxy's `default-server` line. */
  checks: string
  /** Further lines of pgbouncer.ini. */
  pooler: readonly string[]
  /** Last part of the dcs' address; instances and HAProxy come after it. */
  firstAddress: number
}

/** pg_rewind as in the example configuration that Patroni comes with. */
const POSTGRESQL = { use_pg_rewind: true, use_slots: true }

export const SEEDS_PEER: PeerSettings = {
  name: 'seeds',
  source:
    'Patroni defaults 30/10/10, the HAProxy template of the report, PgBouncer beside PostgreSQL',
  dynamic: {
    ttl: 30,
    loop_wait: 10,
    retry_timeout: 10,
    maximum_lag_on_failover: 1_048_576,
    postgresql: POSTGRESQL,
  },
  checks: 'inter 3s fall 3 rise 2 on-marked-down shutdown-sessions',
  pooler: [],
  firstAddress: 10,
}

export const PIGSTY_PEER: PeerSettings = {
  name: 'pigsty-fast',
  source: 'Pigsty, preset fast: ttl 20, loop 5, retry 5, start 15; its HAProxy checks',
  dynamic: {
    ttl: 20,
    loop_wait: 5,
    retry_timeout: 5,
    // Both names: Debian 12's Patroni 3.0.2 reads the older one.
    master_start_timeout: 15,
    primary_start_timeout: 15,
    maximum_lag_on_failover: 1_048_576,
    postgresql: POSTGRESQL,
  },
  checks:
    'inter 1s fastinter 500ms downinter 1s rise 3 fall 3 slowstart 30s ' +
    'on-marked-down shutdown-sessions',
  pooler: [],
  firstAddress: 20,
}

export const TIGHTEST_PEER: PeerSettings = {
  name: 'tightest',
  source: 'the least that Patroni >= 3.2 allows: ttl 20, loop 1, retry 3, start 0; checks to match',
  dynamic: {
    ttl: 20,
    loop_wait: 1,
    retry_timeout: 3,
    master_start_timeout: 0,
    primary_start_timeout: 0,
    maximum_lag_on_failover: 1_048_576,
    postgresql: POSTGRESQL,
  },
  checks: 'inter 1s fastinter 500ms downinter 500ms rise 1 fall 2 on-marked-down shutdown-sessions',
  pooler: ['server_login_retry = 1'],
  firstAddress: 30,
}

export const PEERS: readonly PeerSettings[] = [SEEDS_PEER, PIGSTY_PEER, TIGHTEST_PEER]
