// Owns hosts and the dcs as the API shows them.
import { type Static, Type } from 'typebox'
import { RESOURCE_NAME_PATTERN } from '../names.ts'
import { Labels, Timestamp } from './resource.ts'

/**
 * pending: never enrolled; online: heard within 30 s; offline: not; revoked: its certificate is
 * refused.
 */
export const HostState = Type.Enum(['pending', 'online', 'offline', 'revoked'])
/** data: instances and dcs members go here first; gateway: gateways go here first. */
export const HostRole = Type.Enum(['data', 'gateway'])

const Address = Type.String({
  anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }],
  description: 'Where other hosts and applications reach this one',
})

export const Host = Type.Object({
  id: Type.String(),
  name: Type.String(),
  address: Type.String(),
  role: HostRole,
  state: HostState,
  message: Type.String({ description: 'One sentence: what it does, or why it is not online' }),
  labels: Labels,
  cpu_count: Type.Union([Type.Integer(), Type.Null()]),
  memory_bytes: Type.Union([Type.Integer(), Type.Null()]),
  disk_free_bytes: Type.Union([Type.Integer(), Type.Null()]),
  postgres_versions: Type.Array(Type.String()),
  programs: Type.Record(Type.String(), Type.String()),
  services: Type.Array(
    Type.Object({
      name: Type.String(),
      state: Type.String(),
      ready: Type.Boolean(),
      pid: Type.Union([Type.Integer(), Type.Null()]),
      since: Type.Union([Timestamp, Type.Null()]),
      message: Type.String(),
    }),
  ),
  seen_at: Type.Union([Timestamp, Type.Null()]),
  created_at: Timestamp,
})

export const HostCreate = Type.Object(
  {
    name: Type.String({ pattern: RESOURCE_NAME_PATTERN }),
    address: Address,
    role: Type.Optional(HostRole),
    /** Further addresses that its outgoing connections may come from, for pg_hba. */
    source_addresses: Type.Optional(Type.Array(Address, { maxItems: 8 })),
    labels: Type.Optional(Labels),
  },
  { additionalProperties: false },
)

/** The token is shown here and nowhere else; it works once, for 15 minutes. */
export const EnrolmentToken = Type.Object({
  host: Host,
  token: Type.String(),
  expires_at: Timestamp,
})

export const DcsCreate = Type.Object(
  {
    hosts: Type.Array(Type.String({ maxLength: 64 }), {
      minItems: 1,
      maxItems: 7,
      uniqueItems: true,
      description: 'Names or ids of the hosts that get an etcd member; 3 for a production platform',
    }),
  },
  { additionalProperties: false },
)
export const Dcs = Type.Object({
  state: Type.Enum(['none', 'creating', 'available']),
  members: Type.Array(
    Type.Object({
      name: Type.String(),
      host: Type.String(),
      address: Type.String(),
      client_port: Type.Integer(),
      ready: Type.Boolean(),
    }),
  ),
})

export type Host = Static<typeof Host>
export type HostRole = Static<typeof HostRole>
export type HostCreate = Static<typeof HostCreate>
export type EnrolmentToken = Static<typeof EnrolmentToken>
export type Dcs = Static<typeof Dcs>
export type DcsCreate = Static<typeof DcsCreate>
