// Owns what is inside a cluster: databases and roles. Lists are read live from the leader; changes
// are operations. A password is shown in the reply that made it and stored nowhere in clear.
import {
  Database,
  DatabaseCreate,
  OperationAccepted,
  Role,
  RoleAccepted,
  RoleCreate,
} from '@howdah/core/contract/clusters.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { parseDatabaseName, parseRoleName } from '@howdah/core/names.ts'
import { generatePassword, parsePassword, scramVerifier } from '@howdah/core/scram.ts'
import { Type } from 'typebox'
import { queryLeader } from '../clusters/leader-sql.ts'
import type { Queryable } from '../database.ts'
import type { ClusterRow } from '../db/clusters.ts'
import { DEFAULT_DATABASE, DEFAULT_ROLE } from '../operations/create-cluster.ts'
import { createDatabase } from '../operations/create-database.ts'
import { createRole } from '../operations/create-role.ts'
import { deleteDatabase } from '../operations/delete-database.ts'
import { deleteRole } from '../operations/delete-role.ts'
import type { Platform } from '../operations/operation.ts'
import { rotatePassword } from '../operations/rotate-password.ts'
import type { Api } from './app.ts'
import { requireCluster, startOperation } from './clusters.ts'
import { mutate } from './mutation.ts'

const PgNameParam = Type.String({ minLength: 1, maxLength: 255 })
const ClusterParams = Type.Object({ cluster: ResourceRef })
const DatabaseParams = Type.Object({ cluster: ResourceRef, database: PgNameParam })
const RoleParams = Type.Object({ cluster: ResourceRef, role: PgNameParam })

export async function requireAvailable(db: Queryable, reference: string): Promise<ClusterRow> {
  const cluster = await requireCluster(db, reference)
  if (cluster.state !== 'available' && cluster.state !== 'updating') {
    throw new HowdahError('wrong-state', `cluster ${cluster.name} is ${cluster.state}`)
  }
  return cluster
}

export function registerClusterContents(api: Api): void {
  registerDatabases(api)
  registerRoles(api)
  registerRoleChanges(api)
}

async function listDatabases(platform: Platform, cluster: ClusterRow): Promise<Database[]> {
  type Row = Omit<Database, 'size_bytes'> & { size_bytes: string }
  const rows = await queryLeader<Row>(platform, cluster, {
    text: `select datname as name, pg_get_userbyid(datdba) as owner,
             pg_database_size(oid)::text as size_bytes, pg_encoding_to_char(encoding) as encoding
           from pg_database where not datistemplate and datname <> 'postgres' order by datname`,
    params: [],
  })
  return rows.map((row) => ({ ...row, size_bytes: Number(row.size_bytes) }))
}

function registerDatabases({ app, platform }: Api): void {
  const tags = ['databases']
  app.get(
    '/v1/clusters/:cluster/databases',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List the databases, live from the leader',
        params: ClusterParams,
        response: { 200: Type.Object({ data: Type.Array(Database) }) },
      },
    },
    async (request) => {
      const cluster = await requireAvailable(platform.database, request.params.cluster)
      return { data: await listDatabases(platform, cluster) }
    },
  )
  app.post(
    '/v1/clusters/:cluster/databases',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Create a database',
        params: ClusterParams,
        body: DatabaseCreate,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const name = parseDatabaseName(request.body.name)
        const owner = parseRoleName(request.body.owner ?? DEFAULT_ROLE)
        const title = `create database ${name} in ${cluster.name}`
        const input = { name, owner }
        const started = await startOperation(tx, request, createDatabase, cluster, title, input)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
  app.delete(
    '/v1/clusters/:cluster/databases/:database',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Delete a database; its sessions are ended',
        params: DatabaseParams,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const name = parseDatabaseName(request.params.database)
        const title = `delete database ${name} in ${cluster.name}`
        const started = await startOperation(tx, request, deleteDatabase, cluster, title, { name })
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}

async function listRoles(platform: Platform, cluster: ClusterRow): Promise<Role[]> {
  return queryLeader<Role>(platform, cluster, {
    text: `select r.rolname as name, r.rolcanlogin as login, r.rolconnlimit as connection_limit,
             array(select g.rolname::text from pg_auth_members m
                   join pg_roles g on g.oid = m.roleid
                   where m.member = r.oid order by 1) as member_of
           from pg_roles r
           where r.rolname !~ '^(pg_|howdah_)' and r.rolname <> 'postgres' order by r.rolname`,
    params: [],
  })
}

function registerRoles({ app, platform }: Api): void {
  const tags = ['roles']
  app.get(
    '/v1/clusters/:cluster/roles',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'List the roles, live from the leader',
        params: ClusterParams,
        response: { 200: Type.Object({ data: Type.Array(Role) }) },
      },
    },
    async (request) => {
      const cluster = await requireAvailable(platform.database, request.params.cluster)
      return { data: await listRoles(platform, cluster) }
    },
  )
  app.post(
    '/v1/clusters/:cluster/roles',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Create a role that can log in; the password is shown in this reply only',
        params: ClusterParams,
        body: RoleCreate,
        response: { 202: RoleAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const name = parseRoleName(request.body.name)
        const database = parseDatabaseName(request.body.database ?? DEFAULT_DATABASE)
        const given = request.body.password
        const password = given === undefined ? generatePassword() : parsePassword(given)
        const title = `create role ${name} in ${cluster.name}`
        const access = request.body.access ?? 'none'
        const verifier = platform.sealer
          .seal(`role:${cluster.id}:${name}`, scramVerifier(password))
          .toString('base64')
        const input = { name, access, database, verifier }
        const started = await startOperation(tx, request, createRole, cluster, title, input)
        return {
          status: 202,
          headers: started.headers,
          body: {
            operation: started.operation,
            // A password that the caller chose is not repeated.
            ...(given === undefined ? { credentials: { role: name, password, database } } : {}),
          },
        }
      }),
  )
}

function registerRoleChanges({ app, platform }: Api): void {
  const tags = ['roles']
  app.delete(
    '/v1/clusters/:cluster/roles/:role',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Delete a role; what it owns goes to the owner of the database',
        params: RoleParams,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const name = parseRoleName(request.params.role)
        const title = `delete role ${name} in ${cluster.name}`
        const started = await startOperation(tx, request, deleteRole, cluster, title, { name })
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
  app.post(
    '/v1/clusters/:cluster/roles/:role/rotate-password',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Give a role a new password; it is shown in this reply only',
        params: RoleParams,
        response: { 202: RoleAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const name = parseRoleName(request.params.role)
        const password = generatePassword()
        const title = `rotate the password of role ${name} in ${cluster.name}`
        const verifier = platform.sealer
          .seal(`role:${cluster.id}:${name}`, scramVerifier(password))
          .toString('base64')
        const input = { name, verifier }
        const started = await startOperation(tx, request, rotatePassword, cluster, title, input)
        return {
          status: 202,
          headers: started.headers,
          body: {
            operation: started.operation,
            credentials: { role: name, password, database: null },
          },
        }
      }),
  )
}
